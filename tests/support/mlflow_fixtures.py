"""A real MLflow tracking server for tests, and small models logged to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_START_S = 150
_STOP_S = 10

_ENVIRONMENT = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    # A throw-away Fernet key: without one, every server process makes up its own.
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "c21hbGwtdGVzdC1rZXktbm90LWEtc2VjcmV0LTAwMDA=",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowServer:
    """A tracking server with SQLite and proxied file artifacts.

    Attributes:
        uri: Its address.
        root: The folder with its database, artifacts and log.
    """

    uri: str
    root: Path

    @property
    def client(self) -> Any:
        """MLflow's own client for it."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return (self.root / "server.log").read_text()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A tracking server that the whole session shares; started by the first test that asks."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@contextmanager
def running_mlflow(
    root: Path,
    *,
    port: int | None = None,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[MlflowServer]:
    """Run a tracking server in a process group of its own, which ends with the block.

    Args:
        root: The folder for its database, artifacts and log; used again, they are kept.
        port: None for any that is free.
        workers: Server processes.
        environment: Variables over those that tests usually set.
    """
    port = port or free_port()
    log = root / "server.log"
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"),
        *("--artifacts-destination", str(root / "artifacts"), "--serve-artifacts"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            cwd=root,
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait_for(uri, process, log)
        yield MlflowServer(uri=uri, root=root)
    finally:
        _stop(process)


def free_port() -> int:
    """Return a TCP port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_torch_mlp(
    server: MlflowServer,
    name: str,
    *,
    features: int = 4,
    classes: int = 3,
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
) -> int:
    """Log and register a small PyTorch network as a `.pt2` file; return its version number.

    It takes and returns float32[rows, features] and float32[rows, classes]; rows are dynamic.
    """
    import mlflow
    import torch
    from mlflow.models import infer_signature

    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(features, 8), torch.nn.ReLU(), torch.nn.Linear(8, classes)
    ).eval()
    rows = np.random.default_rng(seed).normal(size=(5, features)).astype(np.float32)
    signature = infer_signature(rows, network(torch.from_numpy(rows)).detach().numpy())
    with _run(server), mlflow.start_run():
        mlflow.log_metrics(dict(metrics or {}))
        info = mlflow.pytorch.log_model(
            network,
            name="model",
            signature=signature,
            input_example=rows,
            registered_model_name=name,
            pip_requirements=["torch"],
        )
    return int(info.registered_model_version)


def log_onnx(
    server: MlflowServer,
    name: str,
    *,
    features: int = 4,
    metrics: Mapping[str, float] | None = None,
) -> int:
    """Log and register a small ONNX model with dynamic rows; return its version number."""
    import mlflow
    from mlflow.models import infer_signature

    rows = np.ones((3, features), np.float32)
    with _run(server), mlflow.start_run():
        mlflow.log_metrics(dict(metrics or {}))
        info = mlflow.onnx.log_model(
            scaling_onnx(features),
            name="model",
            signature=infer_signature({"x": rows}, {"y": rows}),
            input_example={"x": rows},
            registered_model_name=name,
            pip_requirements=["onnx"],
        )
    return int(info.registered_model_version)


def scaling_onnx(features: int = 4) -> Any:
    """Return an ONNX model that multiplies `x`, float32[rows, features], by a weight, into `y`."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.full(features, 2.0, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, features])],
        initializer=[weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@contextmanager
def _run(server: MlflowServer) -> Iterator[None]:
    """Point MLflow's global state at a server for the block, and back at nothing after it."""
    import mlflow

    mlflow.set_tracking_uri(server.uri)
    try:
        mlflow.set_experiment("tests")
        yield
    finally:
        mlflow.set_tracking_uri("")


def _wait_for(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"MLflow did not start:\n{log.read_text()[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: the server forks workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
