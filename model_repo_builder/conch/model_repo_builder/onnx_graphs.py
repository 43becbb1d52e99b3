"""What an ONNX graph says of itself: inputs, outputs, and the digest of its structure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from onnx import AttributeProto, TensorProto, helper, numpy_helper

from conch.core import DType, InvalidValueError

from .errors import UnsupportedGraphError
from .sources import Port

_STRUCTURAL_VALUES: Final = 64
"""Integer constants up to this many elements (shapes, axes, sizes) are structure, not weights."""

_INTEGERS: Final = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL})


def input_ports(model: Any) -> tuple[Port, ...]:
    """Return a graph's inputs.

    Unnamed dynamic dimensions get names of their own, but for the first of every input, which are
    taken to be one batch: models say so seldom, and verification would tell.

    Raises:
        UnsupportedGraphError: An input is not a tensor of a type that can be served.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(_port(info) for info in model.graph.input if info.name not in weights)


def output_ports(model: Any) -> tuple[Port, ...]:
    """Return a graph's outputs; see `input_ports`."""
    return tuple(_port(info) for info in model.graph.output)


def graph_digest(model: Any) -> str:
    """Return the SHA-256 of a graph's structure: equal for two models that differ in weights only.

    Operators, attributes, wiring, types and shapes count. The names of inner values and of dynamic
    axes, the values of weights, and who wrote the file do not. So two trainings of one
    architecture are equal, and a layer more or a width changed is not.
    """
    text = json.dumps(_Structure().of_model(model), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _port(info: Any) -> Port:
    if info.type.WhichOneof("value") != "tensor_type":
        raise UnsupportedGraphError(
            f"{info.name!r} is a {info.type.WhichOneof('value')}, which no model server takes.",
            hint="Let the model take and return tensors; for scikit-learn classifiers convert "
            "with the option zipmap=False.",
        )
    tensor = info.type.tensor_type
    try:
        dtype = DType.from_numpy(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (InvalidValueError, KeyError) as error:
        name = TensorProto.DataType.Name(tensor.elem_type)
        raise UnsupportedGraphError(
            f"{info.name!r} is of type {name}, which cannot be served.",
            hint="Cast it at the boundary of the model, for instance bfloat16 to float32.",
        ) from error
    return Port(
        name=info.name,
        dtype=dtype,
        dims=tuple(
            _dim(dim, f"{info.name}.{place}" if place else "batch")
            for place, dim in enumerate(tensor.shape.dim)
        ),
    )


def _dim(dim: Any, unnamed: str) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return str(dim.dim_param) or unnamed


class _Structure:
    """The structure of a graph with names replaced by numbers in order of appearance."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._axes: dict[str, int] = {}

    def of_model(self, model: Any) -> dict[str, Any]:
        return {
            "opsets": sorted([item.domain, item.version] for item in model.opset_import),
            "graph": self._graph(model.graph),
            "functions": [
                [
                    function.domain,
                    function.name,
                    [self._value(name) for name in (*function.input, *function.output)],
                    [self._node(node) for node in function.node],
                ]
                for function in sorted(model.functions, key=lambda f: (f.domain, f.name))
            ],
        }

    def _graph(self, graph: Any) -> dict[str, Any]:
        used = {name for node in _nodes(graph) for name in node.input}
        return {
            "inputs": [
                [info.name, self._value(info.name), self._type(info)] for info in graph.input
            ],
            "nodes": [self._node(node) for node in graph.node],
            "weights": sorted(
                [self._value(tensor.name), self._tensor(tensor)]
                for tensor in graph.initializer
                if tensor.name in used
            ),
            "outputs": [
                [info.name, self._value(info.name), self._type(info)] for info in graph.output
            ],
        }

    def _node(self, node: Any) -> list[Any]:
        return [
            node.domain,
            node.op_type,
            [self._value(name) for name in node.input],
            [self._attribute(item) for item in sorted(node.attribute, key=lambda a: a.name)],
            [self._value(name) for name in node.output],
        ]

    def _attribute(self, item: Any) -> list[Any]:
        if item.type == AttributeProto.GRAPH:
            return [item.name, self._graph(item.g)]
        if item.type == AttributeProto.GRAPHS:
            return [item.name, [self._graph(graph) for graph in item.graphs]]
        if item.type == AttributeProto.TENSOR:
            return [item.name, self._tensor(item.t)]
        if item.name.startswith(("nodes_", "target_", "class_", "coefficients", "leaf_")):
            return [item.name, "weights"]  # trees and linear models keep theirs in attributes
        value = helper.get_attribute_value(item)
        return [item.name, repr(list(value)) if hasattr(value, "__len__") else repr(value)]

    def _tensor(self, tensor: Any) -> list[Any]:
        facts: list[Any] = [tensor.data_type, list(tensor.dims)]
        array = numpy_helper.to_array(tensor) if tensor.data_type in _INTEGERS else None
        if array is not None and array.size <= _STRUCTURAL_VALUES:
            facts.append(array.tolist())
        return facts

    def _type(self, info: Any) -> list[Any]:
        port = _port(info)
        return [
            port.dtype.value,
            [
                size
                if isinstance(size, int)
                else f"axis {self._axes.setdefault(size, len(self._axes))}"
                for size in port.dims
            ],
        ]

    def _value(self, name: str) -> int:
        return self._values.setdefault(name, len(self._values)) if name else -1


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for item in node.attribute:
            for inner in (item.g, *item.graphs):
                yield from _nodes(inner)
