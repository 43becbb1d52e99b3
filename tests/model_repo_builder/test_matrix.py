"""Every kind of model in every format that applies: verified, and answered by a real Triton.

One server takes the builds' portable flavour one after the other. Its answers are compared with the
golden rows, which the registered model answered as it was built, and with rows that the framework
itself answers here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from logged_code import ORDERS, Pricing, log_code
from logged_loop import Halving, log_loop
from logged_networks import conv, dense, log_network, rows_of
from logged_tables import GAPS, MIXED, PEOPLE, RECIPES, TEXTS, log_table
from platform_fixtures import A, LocalPlatform, running_platform

from conch.core import Pin, Precision, ServingSpec, TritonName
from conch.local import InferenceFailedError, RuntimeSpec, install
from conch.model_repo_builder import BuildRequest, Manifest, RuntimeCaps, build, preflight

pytestmark = pytest.mark.real

Requests = Callable[..., BuildRequest]
TORCH = ("torch",)
PLAIN = ("onnx",)
EXACT = ("onnx", "openvino", "openvino:fp16")
CALIBRATED = (*EXACT, "openvino:int8")
CLOSE = {Precision.FP32: 1e-4, Precision.FP16: 1e-2, Precision.INT8: 0.1}
"""Differences allowed, as parts of an output's largest magnitude."""

COLUMNS = {
    name: MIXED[name].to_numpy(dtype=object if name == "city" else None)[:12, None]
    for name in MIXED.columns
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A logged model, rows for it and what its framework answers.

    Attributes:
        source: The folder.
        rows: One array for each input, in order.
        answers: One array for each output, in order.
        trusted: Whether it is code that has to be trusted.
    """

    source: Path
    rows: tuple[np.ndarray, ...]
    answers: tuple[np.ndarray, ...]
    trusted: bool = False


def perceptron() -> torch.nn.Module:
    """float32[n, 16] -> float32[n, 4]."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))


def convolutions() -> torch.nn.Module:
    """float32[n, 3, 12, 12] -> float32[n, 5], with a batch norm that has seen data."""
    torch.manual_seed(2)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
    network = torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 5)
    )
    for _ in range(3):
        network(2 * torch.randn(16, 3, 12, 12) + 1)
    return network


class Encoder(torch.nn.Module):
    """float32[n, 7, 8] -> float32[n, 3]: a transformer's encoder with attention of two heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean(1))


class Lstm(torch.nn.Module):
    """float32[n, 6, 5] -> float32[n, 3]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.lstm = torch.nn.LSTM(5, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def _keras(path: Path, network: Any) -> Subject:
    """A Keras network, answered by itself."""
    rows = rows_of(network, 12, seed=9)
    source = log_network(path, network, input_example=rows_of(network, 48))
    return Subject(source=source, rows=(rows,), answers=(network.predict(rows, verbose=0),))


def _torch(request: pytest.FixtureRequest, module: torch.nn.Module, *shape: int) -> Subject:
    """A PyTorch network, answered by itself."""
    random = np.random.default_rng(9)
    example = random.standard_normal((48, *shape)).astype(np.float32)
    log, schema = request.getfixturevalue("log_torch"), request.getfixturevalue("make_schema")
    source = log(module.eval(), example, schema(("", "float32", (-1, *shape))))
    rows = random.standard_normal((12, *shape)).astype(np.float32)
    with torch.no_grad():
        answers = (module(torch.from_numpy(rows)).numpy(),)
    return Subject(source=source, rows=(rows,), answers=answers)


def _loop(path: Path) -> Subject:
    """A PyTorch module that has to be scripted, answered by itself."""
    rows = 4 * np.random.default_rng(9).standard_normal((12, 4)).astype(np.float32)
    answers = (Halving()(torch.from_numpy(rows)).numpy(),)
    return Subject(source=log_loop(path), rows=(rows,), answers=answers, trusted=True)


def _table(path: Path, recipe: str, *rows: np.ndarray) -> Subject:
    """A model of a table, answered by the estimator that was logged."""
    source, estimator = log_table(path, RECIPES[recipe])
    asked = RECIPES[recipe].rows[:12]
    answers = [np.asarray(estimator.predict(asked))]
    if hasattr(estimator, "predict_proba"):
        answers.append(estimator.predict_proba(asked))
    return Subject(source=source, rows=rows, answers=tuple(answers))


def _external(request: pytest.FixtureRequest, path: Path) -> Subject:
    source, random = request.getfixturevalue("linear"), np.random.default_rng(9)
    rows = {
        "a": random.standard_normal((12, 600)).astype(np.float32),
        "b": random.standard_normal((12, 4)).astype(np.float32),
    }
    answers = mlflow.pyfunc.load_model(str(source)).predict(rows)
    return Subject(source=source, rows=tuple(rows.values()), answers=tuple(answers.values()))


def _code(request: pytest.FixtureRequest, path: Path) -> Subject:
    rows = tuple(
        ORDERS[name].to_numpy(dtype=object if name == "country" else None)[:, None]
        for name in ORDERS.columns
    )
    answers = Pricing().predict(None, ORDERS)
    return Subject(
        source=log_code(path, Pricing(), ORDERS),
        rows=rows,
        answers=tuple(answers[name].to_numpy() for name in answers.columns),
        trusted=True,
    )


Make = Callable[[pytest.FixtureRequest, Path], Subject]
SUBJECTS: dict[str, tuple[Make, Sequence[str]]] = {
    "torch-mlp": (lambda r, p: _torch(r, perceptron(), 16), CALIBRATED),
    "torch-cnn": (lambda r, p: _torch(r, convolutions(), 3, 12, 12), CALIBRATED),
    "torch-encoder": (lambda r, p: _torch(r, Encoder(), 7, 8), CALIBRATED),
    "torch-lstm": (lambda r, p: _torch(r, Lstm(), 6, 5), CALIBRATED),
    "torch-loop": (lambda r, p: _loop(p), ("torchscript",)),
    "keras-dense": (lambda r, p: _keras(p, dense()), CALIBRATED),
    "keras-conv": (lambda r, p: _keras(p, conv()), CALIBRATED),
    "logistic": (lambda r, p: _table(p, "logistic", PEOPLE.to_numpy()[:12]), PLAIN),
    "forest": (lambda r, p: _table(p, "forest", PEOPLE.to_numpy()[:12]), PLAIN),
    "histogram": (lambda r, p: _table(p, "histogram", GAPS.to_numpy()[:12]), PLAIN),
    "columns": (lambda r, p: _table(p, "columns-logistic", *COLUMNS.values()), PLAIN),
    "text": (lambda r, p: _table(p, "text", TEXTS[:12, None]), PLAIN),
    "ridge": (lambda r, p: _table(p, "scaled-ridge", RECIPES["scaled-ridge"].rows[:12]), EXACT),
    "xgboost": (lambda r, p: _table(p, "xgboost", GAPS.to_numpy()[:12]), PLAIN),
    "xgboost-regressor": (
        lambda r, p: _table(p, "xgboost-regressor", RECIPES["xgboost-regressor"].rows[:12]),
        PLAIN,
    ),
    "lightgbm": (lambda r, p: _table(p, "lightgbm", PEOPLE.to_numpy()[:12]), PLAIN),
    "lightgbm-regressor": (
        lambda r, p: _table(p, "lightgbm-booster", PEOPLE.to_numpy()[:12]),
        PLAIN,
    ),
    "onnx-external": (_external, EXACT),
    "python": (_code, ("python",)),
}
"""What makes each, and the formats of it that the portable flavour serves.

OpenVINO takes neither float64 nor text nor trees, INT8 wants 32 rows to calibrate with; FIL is
served by its native backend and proven without a server, see `test_fil_builds`.
"""


CASES = [(name, form) for name, (_, forms) in SUBJECTS.items() for form in forms]


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Subject]:
    """Make each subject once."""
    made: dict[str, Subject] = {}

    def subject(name: str, request: pytest.FixtureRequest) -> Subject:
        if name not in made:
            made[name] = SUBJECTS[name][0](request, tmp_path_factory.mktemp(name) / "model")
        return made[name]

    return subject


@pytest.fixture(scope="module")
def scripting_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Servers whose Python backend has PyTorch too."""
    runtime = install(spec=RuntimeSpec(engines=TORCH))
    with running_platform(tmp_path_factory.mktemp("platform"), runtime) as platform:
        yield platform


@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{n}-{f}" for n, f in CASES])
def test_a_live_server_answers_as_the_registered_model(
    name: str,
    form: str,
    subject_of: Callable[..., Subject],
    request: pytest.FixtureRequest,
    request_for: Requests,
    scripting_platform: LocalPlatform,
) -> None:
    """The golden rows, the framework's own answers, rows alone, and no row at all."""
    subject, pin = subject_of(name, request), Pin.parse(form)
    precision = pin.precision or Precision.FP32
    manifest = build(
        replace(
            request_for(subject.source, trust_pickles=subject.trusted),
            caps=RuntimeCaps().with_engines(TORCH),
            model=TritonName(f"matrix-{name}"),
            spec=ServingSpec(max_batch_size=16, format=pin.format, precision=pin.precision),
        )
    )
    assert manifest.flavours["portable"] == f"{pin.format}:{precision}"
    ask = _load(scripting_platform, manifest)
    try:
        assert preflight(manifest.path, ask).rows >= 6
        inputs = dict(
            zip([port.name for port in manifest.signature.inputs], subject.rows, strict=True)
        )
        together = list(ask(inputs).values())
        _agree(together, subject.answers, precision)
        alone = [list(ask({k: v[[row]] for k, v in inputs.items()}).values()) for row in range(3)]
        _agree([np.concatenate(rows) for rows in zip(*alone, strict=True)], together, precision)
        with suppress(InferenceFailedError):  # refusing is fine; ending the server is not
            nothing = ask({name: rows[:0] for name, rows in inputs.items()})
            assert [len(rows) for rows in nothing.values()] == [0] * len(together)
        assert preflight(manifest.path, ask).rows >= 6
    finally:
        scripting_platform.target.unload(manifest.model, A)


def _load(platform: LocalPlatform, manifest: Manifest) -> Callable[..., dict[str, np.ndarray]]:
    """Have a server load a build; return what asks it, outputs in the signature's order."""
    target = platform.target
    target.load(manifest.ref, A, timeout_s=120)
    outputs = [port.name for port in manifest.signature.outputs]

    def ask(inputs: Any) -> dict[str, np.ndarray]:
        found = target.infer(manifest.model, A, inputs, timeout_s=60)
        return {name: found[name] for name in outputs}

    return ask


def _agree(
    found: Iterable[np.ndarray], expected: Iterable[np.ndarray], precision: Precision
) -> None:
    """Labels and texts are equal; numbers within what the precision costs."""
    for one, other in zip(found, expected, strict=False):
        rows = one.reshape(other[: len(one)].shape)
        if rows.dtype == object:
            assert [v.decode() for v in rows.flat] == [
                v.decode() if isinstance(v, bytes) else str(v) for v in other[: len(one)].flat
            ]
        elif rows.dtype.kind in "iu":
            np.testing.assert_array_equal(rows, other[: len(one)])
        else:
            room = CLOSE[precision] * float(np.abs(other).max())
            np.testing.assert_allclose(rows, other[: len(one)], rtol=1e-4, atol=room)
