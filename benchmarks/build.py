"""How long a model takes to be verified, what that takes of memory, and what the choice is worth.

One model per framework is logged with MLflow. It is registered with a platform of its own (MLflow,
control plane, Triton, Envoy), which builds it: cold, with a worker that has just started, then
warm, as further versions. It is also built alone, by a worker that the control plane would use
(`Workbench`), where memory and variants are looked at.

    python benchmarks/build.py [--quick] [--json] [--profile cpu|gpu]

Keys of the JSON object, which is the last line, by model:

- `registered_cold_s`: the registration returned -> the version is verified, where all workers had
  been killed before the registration.
- `registered_warm_s`: the same with a worker that has built the model before; median.
- `cold_s`: no worker runs -> the verified build is published, without registry and control plane.
- `warm_s`: the same with a worker that has built before; median of the repetitions.
- `peak_mib`: the most resident memory of the worker with its children, over all its builds.
- `variant`: what was chosen to serve.
- `than_source`: how many times as fast as the framework's own inference the chosen variant answers,
  by batch size. Both run with one thread (`OMP_NUM_THREADS=1`).
- `than_onnx`: the same against the plain ONNX graph (1.0 where that is what serves).
- `all_than_onnx`: geometric mean over the batch sizes for every proven variant.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from conch.control import platform as running
from conch.control.client import Client
from conch.control.keys import read_key
from conch.control.settings import MlflowSettings, Settings, read_settings
from conch.core import Ordinal, Profile, ServingSpec, TritonName
from conch.model_repo_builder import BuildRequest, Manifest, Workbench

_WORKER: Final = "conch.model_repo_builder.worker"
_POLL_S: Final = 0.02
_ROWS: Final = 256
_RANDOM: Final = np.random.default_rng(0)


def torch_mlp(path: Path) -> None:
    """float32[n, 64] -> float32[n, 10], two hidden layers of 256."""
    from torch import nn

    net = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    _log_torch(path, net, (64,))


def torch_cnn(path: Path) -> None:
    """float32[n, 3, 32, 32] -> float32[n, 10], four convolutions of 32 channels."""
    from torch import nn

    layers: list[Any] = []
    for channels in (3, 32, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    _log_torch(path, net, (3, 32, 32))


def torch_encoder(path: Path) -> None:
    """float32[n, 16, 64] -> float32[n, 16, 64], two transformer layers."""
    from torch import nn

    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    _log_torch(path, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (16, 64))


def sklearn_forest(path: Path) -> None:
    """100 trees over 20 columns."""
    from sklearn.ensemble import RandomForestClassifier

    _log_sklearn(path, RandomForestClassifier(100, max_depth=8, random_state=0))


def sklearn_pipeline(path: Path) -> None:
    """A scaler and a logistic regression over 20 columns."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _log_sklearn(path, make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)))


def xgboost_classifier(path: Path) -> None:
    """100 rounds over 20 columns."""
    import mlflow
    import xgboost
    from mlflow.models import infer_signature

    rows, labels = _table()
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=5, n_jobs=1).fit(rows, labels)
    signature = infer_signature(rows[:8], model.predict(rows[:8]))
    mlflow.xgboost.save_model(
        model, path=str(path), input_example=rows[:64], signature=signature, pip_requirements=[]
    )


def lightgbm_classifier(path: Path) -> None:
    """100 rounds over 20 columns."""
    import lightgbm
    import mlflow
    from mlflow.models import infer_signature

    rows, labels = _table()
    model = lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, n_jobs=1).fit(rows, labels)
    signature = infer_signature(rows[:8], model.predict(rows[:8]))
    mlflow.lightgbm.save_model(
        model, path=str(path), input_example=rows[:64], signature=signature, pip_requirements=[]
    )


def keras_dense(path: Path) -> None:
    """float32[n, 64] -> float32[n, 10], one hidden layer of 256."""
    import keras
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    rows = _RANDOM.standard_normal((64, 64)).astype(np.float32)
    inputs = Schema([TensorSpec(np.dtype("float32"), (-1, 64))])
    path.mkdir(parents=True)  # MLflow 3.17 writes the example before it makes the folder
    mlflow.keras.save_model(
        model,
        path=str(path),
        input_example=rows,
        signature=ModelSignature(inputs=inputs),
        pip_requirements=[],
    )


MODELS: Final[dict[str, Callable[[Path], None]]] = {
    "torch mlp": torch_mlp,
    "torch cnn": torch_cnn,
    "torch encoder": torch_encoder,
    "keras dense": keras_dense,
    "sklearn forest": sklearn_forest,
    "sklearn pipeline": sklearn_pipeline,
    "xgboost": xgboost_classifier,
    "lightgbm": lightgbm_classifier,
}


@dataclass(slots=True)
class Peak:
    """The most memory seen."""

    bytes: int = 0


def measure(source: Path, folder: Path, *, profile: Profile, repeats: int) -> dict[str, Any]:
    """Build one logged model cold and warm."""
    request = BuildRequest(
        build_id="benchmark",
        registered_name="model",
        model=TritonName("model"),
        ordinal=Ordinal(1),
        source=source,
        output=folder / "0",
        spec=ServingSpec(max_batch_size=64),
        profile=profile,
    )
    with watching() as peak, Workbench(log_dir=folder / "logs") as bench:
        begun = time.perf_counter()
        bench.build(request)
        cold_s = time.perf_counter() - begun
        warm_s = []
        for number in range(1, repeats + 1):
            begun = time.perf_counter()
            manifest = bench.build(replace(request, output=folder / str(number)))
            warm_s.append(time.perf_counter() - begun)
    return {
        "cold_s": round(cold_s, 2),
        "warm_s": round(statistics.median(warm_s), 2),
        "peak_mib": peak.bytes // 1024**2,
        **worth(manifest),
    }


def registered(
    source: Path, name: str, settings: Settings, client: Client, *, repeats: int
) -> dict[str, float]:
    """Register one logged model cold, then warm, and wait until each version is verified."""
    import mlflow
    from mlflow.tracking import MlflowClient

    registry = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    mlflow.set_tracking_uri(settings.mlflow_uri)
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(source), "model")
    artifact = f"{run.info.artifact_uri}/model"
    registry.create_registered_model(name)

    def once() -> float:
        made = registry.create_model_version(
            name, artifact, run.info.run_id, await_creation_for=None
        )
        begun = time.perf_counter()
        client.sweep(wait=False)
        client.wait_verified(name, int(made.version), timeout_s=300)
        return time.perf_counter() - begun

    control = next(
        one.pid for one in running.status(settings).processes if one.name == running.CONTROL
    )
    for process in psutil.Process(control).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if _WORKER in process.cmdline():
                process.kill()
    cold_s = once()
    warm_s = [once() for _ in range(repeats)]
    return {
        "registered_cold_s": round(cold_s, 2),
        "registered_warm_s": round(statistics.median(warm_s), 2),
    }


def worth(manifest: Manifest) -> dict[str, Any]:
    """Return what the choice is worth, from the build's own table."""
    rows = {row["name"]: row for row in manifest.variants}
    serves = next(row for row in rows.values() if row["serves"])
    first = manifest.variants[0]

    def times(other: dict[str, Any]) -> dict[str, float]:
        return {
            size: round(other["times_us"][size] / value, 2)
            for size, value in serves["times_us"].items()
        }

    return {
        "variant": manifest.variant,
        "than_source": times(rows["source"]),
        "than_onnx": times(first),
        "all_than_onnx": {name: row["speedup"] for name, row in rows.items()},
    }


@contextmanager
def watching() -> Iterator[Peak]:
    """Watch the memory of this process's children."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        own = psutil.Process()
        while not ended.wait(_POLL_S):
            total = 0
            for child in own.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak.bytes = max(peak.bytes, total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three models, one repetition")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--profile", choices=list(Profile), default=Profile.CPU, type=Profile)
    arguments = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    names = ("torch mlp", "sklearn forest", "xgboost") if arguments.quick else tuple(MODELS)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["OMP_NUM_THREADS"] = "1"  # which the workers inherit
    repeats = 1 if arguments.quick else 3
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="conch-build-") as folder:
        sources = _logged(names, Path(folder))
        for number, (name, source) in enumerate(sources.items()):
            builds = Path(folder) / f"builds-{number}"
            found[name] = measure(source, builds, profile=arguments.profile, repeats=repeats)
            print(f"{name:18} {json.dumps(found[name])}", flush=True)
        with platform(Path(folder) / "home") as (settings, client):
            for name, source in sources.items():
                figures = registered(source, name, settings, client, repeats=repeats)
                found[name] |= figures
                print(f"{name:18} {json.dumps(figures)}", flush=True)
    if arguments.json:
        print(json.dumps(found))


@contextmanager
def platform(home: Path) -> Iterator[tuple[Settings, Client]]:
    """Run a platform for the block."""
    settings = running.with_free_ports(read_settings(home=home, mlflow=MlflowSettings(sweep_s=30)))
    try:
        running.up(settings)
        with Client(settings.control_url, key=read_key(settings.home)) as client:
            yield settings, client
    finally:
        running.down(settings)


def _logged(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Train and log the models whose frameworks are installed; return their folders."""
    sources: dict[str, Path] = {}
    for number, name in enumerate(names):
        try:
            MODELS[name](folder / f"model-{number}")
        except ImportError as error:
            print(f"{name:18} left out: {error}")
            continue
        sources[name] = folder / f"model-{number}"
    return sources


def _log_torch(path: Path, net: Any, shape: tuple[int, ...]) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    rows = _RANDOM.standard_normal((64, *shape)).astype(np.float32)
    inputs = Schema([TensorSpec(np.dtype("float32"), (-1, *shape))])
    mlflow.pytorch.save_model(
        net.eval(),
        path=str(path),
        input_example=rows,
        signature=ModelSignature(inputs=inputs),
        pip_requirements=[],
    )


def _log_sklearn(path: Path, model: Any) -> None:
    import mlflow
    from mlflow.models import infer_signature

    rows, labels = _table()
    model.fit(rows, labels)
    mlflow.sklearn.save_model(
        model,
        path=str(path),
        input_example=rows[:64],
        signature=infer_signature(rows[:8], model.predict(rows[:8])),
        serialization_format="skops",
        skops_trusted_types=["sklearn.tree._tree.Tree"],
        pip_requirements=[],
    )


def _table() -> tuple[np.ndarray, np.ndarray]:
    rows = _RANDOM.standard_normal((_ROWS, 20)).astype(np.float32)
    return rows, (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(np.int64)


if __name__ == "__main__":
    main()
