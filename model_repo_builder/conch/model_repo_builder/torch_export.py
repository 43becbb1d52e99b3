"""PyTorch's ONNX exporter for programs of `torch.export`, the only one that is used.

The older, tracing exporter bakes shapes and branches into the graph without an error; a model that
this exporter does not take is refused with the exporter's own words instead.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from .errors import UnsupportedGraphError
from .pytorch_models import PytorchModel
from .requests import RuntimeCaps
from .sources import SourceModel

_OPSET: Final = 20
"""What the exporter writes without a conversion of its own (torch 2.13)."""


@dataclass(frozen=True, slots=True)
class TorchExporter:
    """`torch.onnx.export(..., dynamo=True)` of the program that MLflow stored."""

    name: str = "torch-onnx"

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""
        if isinstance(source, PytorchModel):
            return source.unexported
        return f"the model is {source.flavour}, not PyTorch"

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the program as an `onnx.ModelProto` with the source's tensor names.

        Raises:
            UnsupportedGraphError: The exporter gave up.
        """
        import onnx_ir
        import torch

        assert isinstance(source, PytorchModel)
        try:
            with _quiet():
                exported = torch.onnx.export(
                    source.program,
                    dynamo=True,
                    verbose=False,
                    opset_version=min(_OPSET, caps.opset),
                )
        except Exception as error:
            raise UnsupportedGraphError(
                f"PyTorch's ONNX exporter does not take the model: {_last_words(error)}",
                hint="Replace the operator that it names, or export to ONNX yourself and log the "
                "file with mlflow.onnx.log_model.",
            ) from error
        graph = exported.model.graph
        _rename(graph, [port.name for port in source.inputs], list(source.output_names), onnx_ir)
        return onnx_ir.to_proto(exported.model)


def _rename(graph: Any, inputs: list[str], outputs: list[str], onnx_ir: Any) -> None:
    """Give a graph's inputs and outputs their names on the wire.

    An output that is also an input, a weight or another output first gets an identity of its own,
    and an inner value that bears a wanted name makes room.
    """
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise UnsupportedGraphError(
            f"The exported graph has {len(graph.inputs)} input(s) and {len(graph.outputs)} "
            f"output(s); the program has {len(inputs)} and {len(outputs)}.",
            hint="An input that the model ignores may have been dropped: take it out.",
        )
    for place, value in enumerate(graph.outputs):
        if value.producer() is None or any(value is other for other in graph.outputs[:place]):
            node = onnx_ir.node("Identity", [value])
            node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
            graph.append(node)
            graph.outputs[place] = node.outputs[0]
    named = [*graph.inputs, *graph.outputs]
    wanted = {*inputs, *outputs}
    inner = [value for node in graph.all_nodes() for value in node.outputs]
    for number, value in enumerate([*inner, *graph.initializers.values()]):
        if value.name in wanted and not any(value is kept for kept in named):
            value.name = f"{value.name}_inner_{number}"
    for number, value in enumerate(named):
        value.name = f"renaming_{number}"
    for value, name in zip(named, [*inputs, *outputs], strict=True):
        value.name = name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's prints and its warnings about absent optional packages to itself."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _last_words(error: BaseException) -> str:
    """Return the first line of the error that the exporter's own errors were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
