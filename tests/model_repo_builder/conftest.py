"""Models logged with MLflow itself, one folder each, made once per session."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from onnx import TensorProto, helper, numpy_helper

from conch.core import Ordinal, ServingSpec, TritonName
from conch.model_repo_builder import BuildRequest, Workbench

logging.getLogger("mlflow").setLevel(logging.ERROR)

LogTorch = Callable[..., Path]


class Mlp(torch.nn.Module):
    """float32[n, 16] -> float32[n, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Cnn(torch.nn.Module):
    """float32[n, 3, 12, 12] -> float32[n, 5], with a batch norm that has seen data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)
        self.train()
        for _ in range(3):
            self(2 * torch.randn(16, 3, 12, 12) + 1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Encoder(torch.nn.Module):
    """float32[n, length, 8] -> {"logits": float32[n, 3], "states": float32[n, length, 8]}."""

    def __init__(self) -> None:
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.layers(x)
        return {"logits": self.head(states.mean(1)), "states": states}


class Bag(torch.nn.Module):
    """int64[n, length] below 20 and float32[n, 3] -> float32[n, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(20, 6)
        self.head = torch.nn.Linear(9, 2)

    def forward(self, ids: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.table(ids).mean(1), dense], dim=-1))


def tensors(*specs: tuple[str, str, tuple[int, ...]]) -> Schema:
    """An MLflow schema from (name, NumPy dtype, shape); an empty name is none."""
    return Schema(
        [TensorSpec(np.dtype(dtype), shape, name or None) for name, dtype, shape in specs]
    )


@pytest.fixture(scope="session")
def log_torch(tmp_path_factory: pytest.TempPathFactory) -> LogTorch:
    """Log a module; returns the folder."""

    def log(
        module: torch.nn.Module,
        example: Any,
        inputs: Schema,
        outputs: Schema | None = None,
        **options: Any,
    ) -> Path:
        path = tmp_path_factory.mktemp("torch") / "model"
        mlflow.pytorch.save_model(
            module,
            path=str(path),
            input_example=example,
            signature=ModelSignature(inputs=inputs, outputs=outputs),
            pip_requirements=[],
            **options,
        )
        return path

    return log


@pytest.fixture(scope="session")
def log_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Log an ONNX graph; returns the folder."""

    def log(graph: Any, **options: Any) -> Path:
        path = tmp_path_factory.mktemp("onnx") / "model"
        own = copy.deepcopy(graph)  # saving moves the weights out of the graph that it is given
        mlflow.onnx.save_model(own, path=str(path), pip_requirements=[], **options)
        return path

    return log


@pytest.fixture(scope="session")
def mlp(log_torch: LogTorch) -> Path:
    torch.manual_seed(0)
    example = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    return log_torch(Mlp().eval(), example, tensors(("", "float32", (-1, 16))))


@pytest.fixture(scope="session")
def cnn(log_torch: LogTorch) -> Path:
    torch.manual_seed(1)
    example = np.random.default_rng(1).normal(1, 2, (4, 3, 12, 12)).astype(np.float32)
    return log_torch(Cnn(), example, tensors(("", "float32", (-1, 3, 12, 12))))


@pytest.fixture(scope="session")
def encoder(log_torch: LogTorch) -> Path:
    torch.manual_seed(2)
    example = np.random.default_rng(2).standard_normal((3, 7, 8)).astype(np.float32)
    return log_torch(Encoder().eval(), example, tensors(("", "float32", (-1, -1, 8))))


@pytest.fixture(scope="session")
def bag(log_torch: LogTorch) -> Path:
    torch.manual_seed(3)
    random = np.random.default_rng(3)
    example = [
        random.integers(0, 20, (4, 5)),
        random.standard_normal((4, 3)).astype(np.float32),
    ]
    inputs = tensors(("ids", "int64", (-1, -1)), ("dense", "float32", (-1, 3)))
    return log_torch(Bag().eval(), example, inputs)


@pytest.fixture(scope="session")
def linear_graph() -> Any:
    """`z = a @ W + b`: float32[N, 600] and float32[N, 4] -> float32[N, 4]."""
    weights = np.random.default_rng(4).standard_normal((600, 4)).astype(np.float32)
    return graph_of(
        [helper.make_node("MatMul", ["a", "W"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])],
        inputs=[("a", TensorProto.FLOAT, ["N", 600]), ("b", TensorProto.FLOAT, ["N", 4])],
        outputs=[("z", TensorProto.FLOAT, ["N", 4])],
        weights={"W": weights},
    )


@pytest.fixture(scope="session")
def linear(log_onnx: Callable[..., Path], linear_graph: Any) -> Path:
    random = np.random.default_rng(5)
    example = {
        "a": random.standard_normal((6, 600)).astype(np.float32),
        "b": random.standard_normal((6, 4)).astype(np.float32),
    }
    inputs = tensors(("a", "float32", (-1, 600)), ("b", "float32", (-1, 4)))
    signature = ModelSignature(inputs=inputs, outputs=tensors(("z", "float32", (-1, 4))))
    return log_onnx(linear_graph, input_example=example, signature=signature)


def graph_of(
    nodes: list[Any],
    *,
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 20,
    ir_version: int = 10,
) -> Any:
    """An ONNX model from its parts."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(*item) for item in inputs],
            [helper.make_tensor_value_info(*item) for item in outputs],
            [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
    )


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., Any]:
    return graph_of


@pytest.fixture(scope="session")
def make_schema() -> Callable[..., Schema]:
    return tensors


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., BuildRequest]:
    """A request to build a logged model into the test's own folder."""

    def make(source: Path, *, ordinal: int = 1, max_batch_size: int = 16, **more: Any) -> Any:
        return BuildRequest(
            build_id=f"build-{ordinal}",
            registered_name="digits",
            model=TritonName("digits"),
            ordinal=Ordinal(ordinal),
            source=source,
            output=tmp_path / "builds" / "digits" / str(ordinal),
            spec=ServingSpec(max_batch_size=max_batch_size),
            **more,
        )

    return make


@pytest.fixture(scope="session")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """One warm worker for the tests that do not break it."""
    with Workbench(log_dir=tmp_path_factory.mktemp("logs")) as bench:
        yield bench
