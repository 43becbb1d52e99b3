"""Faults planted into converted graphs are refused, naming the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from conch.model_repo_builder import BuildRequest, UnverifiedError, build
from conch.model_repo_builder.requests import RuntimeCaps
from conch.model_repo_builder.sources import SourceModel
from conch.model_repo_builder.torch_export import TorchExporter

Requests = Callable[..., BuildRequest]
Fault = Callable[[Any], None]


@dataclass(frozen=True)
class Faulty:
    """A converter with a fault: the real exporter, and a change to what it made."""

    fault: Fault
    name: str = "faulty"

    def refusal(self, source: SourceModel) -> str:
        return ""

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        model = TorchExporter().convert(source, caps=caps)
        self.fault(model)
        return model


def scaled(model: Any, by: float) -> None:
    """Scale the largest weight."""
    tensor = max(model.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    array = numpy_helper.to_array(tensor) * np.float32(by)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def swapped_outputs(model: Any) -> None:
    """Let two outputs of one shape change places."""
    first, second = (output.name for output in model.graph.output)
    for node in model.graph.node:
        names = [{first: second, second: first}.get(name, name) for name in node.output]
        node.output[:] = names
        inner = [{first: second, second: first}.get(name, name) for name in node.input]
        node.input[:] = inner


def attribute(model: Any, operator: str, name: str, value: Any) -> None:
    """Set an attribute of every node of an operator."""
    nodes = [node for node in _nodes(model) if node.op_type == operator]
    assert nodes, f"the exporter made no {operator}"
    for node in nodes:
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _nodes(model: Any) -> Iterator[Any]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


class Heads(torch.nn.Module):
    """Softmax over classes, a layer norm, and two outputs of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(6)
        self.left = torch.nn.Linear(6, 4)
        self.right = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        normal = self.norm(x)
        return {"left": self.left(normal).softmax(-1), "right": self.right(normal)}


@pytest.fixture(scope="module")
def heads(log_torch: Callable[..., Path], make_schema: Callable[..., object]) -> Path:
    torch.manual_seed(5)
    example = np.random.default_rng(5).standard_normal((6, 6)).astype(np.float32)
    return log_torch(Heads().eval(), example, make_schema(("", "float32", (-1, 6))))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda m: scaled(m, 1.01), id="weight-scaled-by-one-percent"),
        pytest.param(lambda m: scaled(m, 1.002), id="weight-scaled-by-two-per-mille"),
        pytest.param(swapped_outputs, id="outputs-swapped"),
        pytest.param(lambda m: attribute(m, "Softmax", "axis", 0), id="softmax-over-the-batch"),
        pytest.param(
            lambda m: attribute(m, "LayerNormalization", "epsilon", 1e-2), id="epsilon-changed"
        ),
    ],
)
def test_a_planted_fault_is_refused(heads: Path, request_for: Requests, fault: Fault) -> None:
    """No fault of these passes, and nothing is published."""
    request = request_for(heads)
    with pytest.raises(UnverifiedError, match=r"output '(left|right)' differs") as refusal:
        build(request, converters=(Faulty(fault),))
    assert refusal.value.details["output"] in ("left", "right")
    assert "worst is row" in refusal.value.message
    assert not request.output.exists()
    assert not list(request.output.parent.iterdir())


def test_without_a_fault_the_same_path_builds(heads: Path, request_for: Requests) -> None:
    """The refusals above are due to the faults."""
    assert build(request_for(heads), converters=(Faulty(lambda model: None),)).strong


def test_a_changed_normalisation_constant_is_refused(cnn: Path, request_for: Requests) -> None:
    """A batch norm folded into its convolution with a mean that is off by 1 %."""

    def fault(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name.endswith("running_mean") or (
                tensor.name.endswith("bias") and list(tensor.dims) == [8]
            ):
                array = numpy_helper.to_array(tensor) * np.float32(1.01)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    with pytest.raises(UnverifiedError, match="differs"):
        build(request_for(cnn), converters=(Faulty(fault),))
