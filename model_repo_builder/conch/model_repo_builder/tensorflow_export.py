"""tf2onnx for Keras models and SavedModels, by the function that answers the rows.

`from_function` is what is used: `from_keras` fails on Keras 3 models, and the command line starts
TensorFlow once more.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from onnx import defs, helper

from .errors import UnsupportedGraphError
from .requests import RuntimeCaps
from .sources import SourceModel
from .tensorflow_models import BATCH, TensorflowModel

_OPSET: Final = 18
"""The newest that tf2onnx 1.17 writes."""


@dataclass(frozen=True, slots=True)
class TensorflowExporter:
    """`tf2onnx.convert.from_function` of the model's function."""

    name: str = "tf2onnx"

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""
        if isinstance(source, TensorflowModel):
            return ""
        return f"the model is {source.flavour}, not TensorFlow or Keras"

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the function as an `onnx.ModelProto` with the source's tensor names.

        Raises:
            UnsupportedGraphError: tf2onnx gave up, or left operators that ONNX does not have.
        """
        import tf2onnx

        assert isinstance(source, TensorflowModel)
        opset = min(_OPSET, caps.opset)
        try:
            with _quiet():
                model, _ = tf2onnx.convert.from_function(
                    source.call, input_signature=source.specs, opset=opset
                )
        except Exception as error:
            raise UnsupportedGraphError(
                f"tf2onnx does not take the model: {_last_words(error)}",
                hint="Replace the layer or operator that it names, or export to ONNX yourself and "
                "log the file with mlflow.onnx.log_model.",
            ) from error
        # tf2onnx logs what it cannot express, leaves it in the graph, and raises nothing.
        if foreign := sorted({op for op, domain in _ops(model.graph) if not defs.has(op, domain)}):
            raise UnsupportedGraphError(
                f"tf2onnx has no ONNX for the operator(s) {', '.join(foreign)[:300]}.",
                hint="Replace the layer; text processing belongs in front of the model, or in a "
                "Python model.",
            )
        _rename(model, source)
        model.ir_version = min(model.ir_version, caps.ir_version)
        return model


def _rename(model: Any, source: TensorflowModel) -> None:
    """Give a graph's inputs and outputs their names on the wire, and inputs their axes."""
    graph = model.graph
    if len(graph.input) != len(source.inputs) or len(graph.output) != len(source.output_names):
        raise UnsupportedGraphError(
            f"The converted graph has {len(graph.input)} input(s) and {len(graph.output)} "
            f"output(s); the model has {len(source.inputs)} and {len(source.output_names)}.",
            hint="An input that the model ignores may have been dropped: take it out.",
        )
    wanted = {*(port.name for port in source.inputs), *source.output_names}
    own = [info.name for info in (*graph.input, *graph.output)]
    taken = {name for node in graph.node for name in node.output} | {
        tensor.name for tensor in graph.initializer
    }
    if clash := sorted((taken & wanted) - set(own)):
        raise UnsupportedGraphError(
            f"Inner values of the graph are called like its inputs or outputs: {', '.join(clash)}.",
            hint="Rename the inputs or outputs of the model.",
        )
    by_name = {_bare(info.name): info for info in graph.input}
    for place, (spec, port) in enumerate(zip(source.specs, source.inputs, strict=True)):
        info = by_name.get(spec.name, graph.input[place])
        _replace_input(graph, info.name, port.name)
        info.name = port.name
        for size, dim in zip(port.dims, info.type.tensor_type.shape.dim, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
    for info, name in zip(graph.output, source.output_names, strict=True):
        if info.name != name:
            graph.node.append(helper.make_node("Identity", [info.name], [name]))
            info.name = name
        for place, dim in enumerate(info.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_param = BATCH if place == 0 else f"{name}_{place}"


def _replace_input(graph: Any, before: str, after: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == before:
                node.input[place] = after
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _replace_input(inner, before, after)
    for info in graph.output:
        if info.name == before and before != after:
            graph.node.append(helper.make_node("Identity", [after], [before]))


def _ops(graph: Any) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield node.op_type, node.domain
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _ops(inner)


def _bare(name: str) -> str:
    return name.partition(":")[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)


def _last_words(error: BaseException) -> str:
    """Return the first line of the error that tf2onnx's own were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
