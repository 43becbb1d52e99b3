"""One random change to a converted graph.

Four kinds, each as likely as the others: an element of a weight scaled, a bit of one flipped, an
edge rewired to another tensor, an attribute changed. Weights are the floating-point constants of a
graph wherever they stand: initialisers, constant nodes, and the thresholds and leaves of trees.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
_TRIES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed graph.

    Attributes:
        graph: The `onnx.ModelProto`.
        kind: `scaled`, `bit`, `rewired` or `attribute`.
        what: What was changed, in words.
    """

    graph: Any
    kind: str
    what: str


def mutant(graph: Any, random: np.random.Generator) -> Mutant:
    """Return a copy of a graph with one change."""
    for _ in range(_TRIES):
        changed = copy.deepcopy(graph)
        kind = str(random.choice(list(_KINDS)))
        what = _KINDS[kind](changed, random)
        if what:
            return Mutant(graph=changed, kind=kind, what=what)
    raise ValueError("the graph has nothing that could be changed")


def _scaled(graph: Any, random: np.random.Generator) -> str:
    """Scale one element by a factor between a tenth and ten, either sign."""
    factor = float(np.exp(random.uniform(-np.log(10), np.log(10))) * random.choice([-1, 1]))

    def change(array: np.ndarray, place: int) -> str:
        array[place] = array[place] * factor
        return f"scaled by {factor:.3g}"

    return _one_element(graph, random, change)


def _flipped(graph: Any, random: np.random.Generator) -> str:
    """Flip one bit of one element."""

    def change(array: np.ndarray, place: int) -> str:
        bits = array.view(np.uint32 if array.itemsize == 4 else np.uint64)
        bit = int(random.integers(8 * array.itemsize))
        bits[place] = int(bits[place]) ^ (1 << bit)
        return f"bit {bit} flipped"

    return _one_element(graph, random, change)


def _one_element(
    graph: Any, random: np.random.Generator, change: Callable[[np.ndarray, int], str]
) -> str:
    """Change one element, every element of the graph as likely as any other."""
    weights = list(_weights(graph))
    sizes = np.array([size for _, size, _ in weights], dtype=float)
    if not sizes.sum():
        return ""
    name, size, at = weights[int(random.choice(len(weights), p=sizes / sizes.sum()))]
    place = int(random.integers(size))
    array, put = at()
    before = array[place]
    words = change(array, place)
    if array[place] == before:
        return ""
    put(array)
    return f"{name}[{place}] {words}: {before:.6g} became {array[place]:.6g}"


Access = Callable[[], tuple[np.ndarray, Callable[[np.ndarray], None]]]


def _weights(graph: Any) -> Iterator[tuple[str, int, Access]]:
    """Every floating-point constant: its name, its size, and how to read and write it flat."""
    for tensor in graph.graph.initializer:
        if tensor.data_type in _FLOATS:
            yield tensor.name, _size(tensor), _tensor_access(tensor)
    for node in _nodes(graph):
        for attribute in node.attribute:
            name = f"{node.op_type}.{attribute.name}"
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
                yield name, _size(attribute.t), _tensor_access(attribute.t)
            elif attribute.type == AttributeProto.FLOATS and attribute.floats:
                yield name, len(attribute.floats), _floats_access(attribute)


def _tensor_access(tensor: Any) -> Access:
    def at() -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        array = numpy_helper.to_array(tensor).copy()

        def put(flat: np.ndarray) -> None:
            fresh = numpy_helper.from_array(flat.reshape(array.shape), tensor.name)
            tensor.CopyFrom(fresh)

        return array.reshape(-1), put

    return at


def _floats_access(attribute: Any) -> Access:
    def at() -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        def put(flat: np.ndarray) -> None:
            attribute.floats[:] = flat.tolist()

        return np.array(attribute.floats, dtype=np.float32), put

    return at


def _rewired(graph: Any, random: np.random.Generator) -> str:
    """Let a node read another tensor that is there before it runs."""
    nodes = list(graph.graph.node)
    place = int(random.integers(len(nodes)))
    node = nodes[place]
    there = [value.name for value in graph.graph.input]
    there += [tensor.name for tensor in graph.graph.initializer]
    there += [name for earlier in nodes[:place] for name in earlier.output if name]
    used = [number for number, name in enumerate(node.input) if name]
    if not used:
        return ""
    number = int(random.choice(used))
    others = [name for name in there if name != node.input[number]]
    if not others:
        return ""
    before, after = node.input[number], str(random.choice(others))
    node.input[number] = after
    return f"input {number} of {node.op_type} reads {after!r} instead of {before!r}"


def _attribute(graph: Any, random: np.random.Generator) -> str:
    """Change a number of an attribute: an axis, a size, an epsilon, a mode."""
    found = [
        (node, attribute)
        for node in _nodes(graph)
        for attribute in node.attribute
        if attribute.type in (AttributeProto.INT, AttributeProto.FLOAT)
        or (attribute.type in (AttributeProto.INTS, AttributeProto.STRING) and node.op_type)
    ]
    if not found:
        return ""
    node, attribute = found[int(random.integers(len(found)))]
    before = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i += int(random.choice([-1, 1]))
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = float(attribute.f * np.exp(random.uniform(-5, 5)) + 0.0)
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        place = int(random.integers(len(attribute.ints)))
        attribute.ints[place] += int(random.choice([-1, 1]))
    else:
        return ""
    after = helper.get_attribute_value(attribute)
    if after == before:
        return ""
    return f"{attribute.name} of {node.op_type}: {_short(before)} became {_short(after)}"


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.graph.node
    for function in graph.functions:
        yield from function.node


def _size(tensor: Any) -> int:
    return int(np.prod(list(tensor.dims), dtype=np.int64))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."


_KINDS: Final[dict[str, Callable[[Any, np.random.Generator], str]]] = {
    "scaled": _scaled,
    "bit": _flipped,
    "rewired": _rewired,
    "attribute": _attribute,
}
