"""The weights of a published build, by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

_GRAPH = "portable/*/*/model.onnx"


def weights_of(build: Path) -> dict[str, dict[str, Any]] | None:
    """Return the constants of a build's ONNX graph: initialisers, and tensors within nodes.

    Args:
        build: The build's folder.

    Returns:
        By name `{"dtype", "shape", "digest"}`, the digest over the values; None where the build
        holds no ONNX graph, as one of another format does.
    """
    paths = sorted(build.glob(_GRAPH))
    if not paths:
        return None
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(paths[0])).graph
    found: dict[str, dict[str, Any]] = {}
    constants = [
        (
            attribute.t,
            node.output[0] if node.op_type == "Constant" else f"{node.name}.{attribute.name}",
        )
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    for tensor, name in [*((one, one.name) for one in graph.initializer), *constants]:
        array = numpy_helper.to_array(tensor)
        found[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "digest": hashlib.sha256(array.tobytes()).hexdigest()[:16],
        }
    return found


def _name(node: Any, attribute: Any) -> str:
    """A constant node's tensor by what it is read as, any other by its place."""
    return str(node.output[0]) if node.op_type == "Constant" else f"{node.name}.{attribute.name}"
