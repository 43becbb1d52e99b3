"""What cannot be served is refused by name, everywhere in the same words; what serves goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_platform import Platform, answers, perceptron, register

from conch.control.client import ApiError
from conch.control.demo.load import Load

pytestmark = pytest.mark.real

ROWS = np.random.default_rng(5).standard_normal((64, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def serving(whole_platform: Platform) -> Any:
    """A live model that every test of this file leaves as it was."""
    network = perceptron(11)
    register(network, "steady", whole_platform.settings.mlflow_uri, rows=ROWS)
    whole_platform.client.sweep()
    whole_platform.client.wait_live("steady", timeout_s=90)
    return network


def noisy() -> Any:
    """A network whose answers depend on chance, so that no conversion can equal it."""
    import torch

    class Noisy(torch.nn.Module):  # type: ignore[misc]
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows[:, :4] + torch.rand_like(rows[:, :4])

    return Noisy().eval()


def register_folder(uri: str, folder: Path, name: str = "steady") -> int:
    """Register a model folder as it is, whatever is in it."""
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    client = MlflowClient(uri)
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    source = f"runs:/{run.info.run_id}/model"
    return int(client.create_model_version(name, source, run_id=run.info.run_id).version)


def saved(folder: Path, **options: Any) -> Path:
    """Save a good network's MLflow model to a folder."""
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 16))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 4))]),
    )
    usual = {"signature": signature, "input_example": ROWS[:8], "pip_requirements": ["torch"]}
    mlflow.pytorch.save_model(perceptron(12), str(folder), **(usual | options))
    return folder


def corrupt(folder: Path) -> Path:
    """Cut the weights in half."""
    weights = saved(folder) / "data" / "model.pt2"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def unknown_flavour(folder: Path) -> Path:
    """Claim a framework that nobody has heard of."""
    import yaml

    described = saved(folder) / "MLmodel"
    content = yaml.safe_load(described.read_text())
    content["flavors"] = {"abacus": {"beads": 7}}
    described.write_text(yaml.safe_dump(content))
    return folder


def without_signature(folder: Path) -> Path:
    """Leave the signature out of the description."""
    import yaml

    described = saved(folder) / "MLmodel"
    content = yaml.safe_load(described.read_text())
    del content["signature"]
    described.write_text(yaml.safe_dump(content))
    return folder


def refused(platform: Platform, number: int) -> dict[str, Any]:
    """Wait for the verdict on a version of the live model, and return its reason."""
    client = platform.client
    client.sweep()
    with pytest.raises(ApiError):
        client.wait_verified("steady", number, timeout_s=90)
    version = client.version("steady", number)
    assert version["status"] == "refused", version
    reason: dict[str, Any] = version["reason"]
    return reason


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (corrupt, "corrupt-artefact"),
        (unknown_flavour, "unknown-flavour"),
        (without_signature, "missing-signature"),
    ],
    ids=["corrupt", "unknown flavour", "no signature"],
)
def test_a_bad_version_is_refused_by_name(
    whole_platform: Platform, serving: Any, tmp_path: Path, make: Any, code: str
) -> None:
    """The API and the MLflow tag carry the same code and sentence; the live version answers on."""
    settings, client = whole_platform.settings, whole_platform.client
    signature = client.version("steady", 1)["signature"]
    with Load(
        url=settings.inference_url,
        model="steady",
        rows=ROWS,
        expected={1: answers(serving, ROWS)},
        input_name=signature["inputs"][0]["name"],
        output_name=signature["outputs"][0]["name"],
        threads=1,
        rate_hz=50,
    ) as load:
        number = register_folder(settings.mlflow_uri, make(tmp_path / "model"))
        reason = refused(whole_platform, number)
    assert code in reason["code"], reason
    assert reason["message"]
    assert reason["hint"]
    assert reason["code"] in tag(whole_platform, number, "conch.reason")
    assert tag(whole_platform, number, "conch.status") == "refused"
    assert load.tally.answers
    assert not load.tally.failed
    assert not load.tally.wrong


def test_a_model_that_does_not_verify_is_refused(whole_platform: Platform, serving: Any) -> None:
    """A network that answers by chance differs from its conversion, and the output is named."""
    number = register(noisy(), "steady", whole_platform.settings.mlflow_uri, rows=ROWS)
    reason = refused(whole_platform, number)
    assert "unverified" in reason["code"], reason
    with pytest.raises(Exception, match="not verified"):
        whole_platform.client.start_release("steady", number)


def tag(platform: Platform, number: int, key: str) -> str:
    """Return one tag of a version, once conch wrote it."""
    import time

    from mlflow import MlflowClient

    client = MlflowClient(platform.settings.mlflow_uri)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tags: dict[str, str] = client.get_model_version("steady", str(number)).tags
        if tags.get(key, "registered") not in ("registered", "building"):
            return tags[key]
        time.sleep(0.1)
    raise AssertionError(f"conch did not write {key}")
