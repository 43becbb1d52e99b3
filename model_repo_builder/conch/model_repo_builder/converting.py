"""Turning a source model into one ONNX graph: a table of converters, tried in order.

Each converter either takes a source or says why not; what was taken and what was skipped is part
of the report. There is no silent fallback: a converter that takes a source and fails, fails the
build.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import UnsupportedGraphError
from .onnx_files import check_caps, default_opset
from .onnx_models import OnnxModel
from .requests import RuntimeCaps
from .sources import SourceModel
from .steps import Step
from .tabular_export import SklearnExporter, TreeExporter
from .tensorflow_export import TensorflowExporter
from .torch_export import TorchExporter


class Converter(Protocol):
    """One way from a source model to ONNX."""

    @property
    def name(self) -> str:
        """Its name in reports, kebab-case."""

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the source as an `onnx.ModelProto`.

        Raises:
            UnsupportedGraphError: The source cannot be expressed.
        """


@dataclass(frozen=True, slots=True)
class KeepOnnx:
    """An ONNX file stays as it is, with its weights moved into it."""

    name: str = "keep-onnx"

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""
        return "" if isinstance(source, OnnxModel) else f"the model is {source.flavour}, not ONNX"

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the file's graph."""
        del caps
        assert isinstance(source, OnnxModel)
        return source.proto


CONVERTERS: tuple[Converter, ...] = (
    KeepOnnx(),
    TorchExporter(),
    TreeExporter(),
    SklearnExporter(),
    TensorflowExporter(),
)
"""In the order of preference: the fewer changes to a model, the earlier."""


def convert(
    source: SourceModel, *, caps: RuntimeCaps, converters: tuple[Converter, ...] = CONVERTERS
) -> tuple[Any, tuple[Step, ...]]:
    """Convert by the first converter that takes the source.

    Returns:
        The `onnx.ModelProto`, and every converter with what it did or why it was skipped.

    Raises:
        UnsupportedGraphError: No converter takes the source, or the one that does fails.
        RuntimeCapsError: The graph is newer than what the serving runtime reads.
    """
    steps: list[Step] = []
    graph: Any = None
    for converter in converters:
        if graph is not None:
            steps.append(Step(name=converter.name, taken=False, reason="an earlier step did it"))
            continue
        if reason := converter.refusal(source):
            steps.append(Step(name=converter.name, taken=False, reason=reason))
            continue
        begun = time.perf_counter()
        graph = converter.convert(source, caps=caps)
        check_caps(graph, caps)
        steps.append(
            Step(
                name=converter.name,
                taken=True,
                reason=f"opset {default_opset(graph)}, IR version {graph.ir_version}",
                seconds=time.perf_counter() - begun,
            )
        )
    if graph is None:
        reasons = "; ".join(f"{step.name}: {step.reason}" for step in steps)
        raise UnsupportedGraphError(f"No converter takes the model ({reasons}).")
    return graph, tuple(steps)
