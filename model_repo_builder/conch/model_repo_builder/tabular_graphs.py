"""The boundary of a tabular model's graph: types and shapes of the wire around float64 inside.

Numbers are widened to float64 at the entry and rounded to float32 at the exit, so that in between
the graph computes as the framework does: a scaler that rounds to float32 moves rows across the
thresholds of the trees behind it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import TensorProto, compose, helper, numpy_helper

from conch.core import DType

from .requests import RuntimeCaps
from .tables import BATCH, PACKED
from .tabular_models import LABEL, PROBABILITIES, TabularModel
from .tree_nodes import ML_DOMAIN, ML_OPSET

_OPSET: Final = 20
_IR_VERSION: Final = 10
_INNER: Final = "inner_"


def opsets(caps: RuntimeCaps) -> dict[str, int]:
    """Return the operator sets to write, by domain."""
    return {"": min(_OPSET, caps.opset), ML_DOMAIN: ML_OPSET}


def inner_model(nodes: list[Any], width: int, outputs: dict[str, int], caps: RuntimeCaps) -> Any:
    """Return a graph from float64[rows, width] named `input` to the outputs.

    Args:
        nodes: In the order of computation.
        width: Number of columns.
        outputs: The ONNX element type of each output by its name.
        caps: What the runtime reads.
    """
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info(PACKED, TensorProto.DOUBLE, [BATCH, width])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*item) for item in opsets(caps).items()],
        ir_version=min(_IR_VERSION, caps.ir_version),
    )


def on_the_wire(inner: Any, source: TabularModel, *, by_column: bool, caps: RuntimeCaps) -> Any:
    """Return a graph with the source's inputs and outputs around an inner one.

    Args:
        inner: An `onnx.ModelProto` that takes float64 and text: one input `input`, or one per
            column under the columns' names.
        source: The model.
        by_column: Whether `inner` takes one input per column.
        caps: What the runtime reads.
    """
    names = list(source.table.columns) if by_column else [PACKED]
    wanted = [item.name for item in inner.graph.input]
    model = compose.add_prefix(inner, _INNER)
    entry = _entry(source, names)
    made = {name for node in entry for name in node.output}
    assert {_INNER + name for name in wanted} <= made, (wanted, made)
    exits, outputs = _exit(source, [item.name for item in inner.graph.output])
    nodes = [*entry, *model.graph.node, *exits]
    graph = helper.make_graph(
        nodes,
        "model",
        [
            helper.make_tensor_value_info(
                port.name, helper.np_dtype_to_tensor_dtype(_element(port.dtype)), list(port.dims)
            )
            for port in source.inputs
        ],
        outputs,
        list(model.graph.initializer),
    )
    kept = [item for item in model.opset_import if item.domain != ""]
    version = max(item.version for item in model.opset_import if item.domain == "")
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", version), *kept],
        functions=list(model.functions),
        ir_version=min(_IR_VERSION, caps.ir_version),
        producer_name="conch",
    )


def _entry(source: TabularModel, names: list[str]) -> list[Any]:
    """Nodes from the wire to the inner inputs."""
    table = source.table
    if not table.packed:
        return [
            _widened(port.name, _INNER + name, port.dtype)
            for port, name in zip(table.ports, names, strict=True)
        ]
    (port,) = table.ports
    if len(names) == 1:
        return [_widened(port.name, _INNER + names[0], port.dtype)]
    sizes = numpy_helper.from_array(np.ones(len(names), dtype=np.int64), "entry_sizes")
    return [
        _widened(port.name, "entry_columns", port.dtype),
        helper.make_node("Constant", [], ["entry_sizes"], value=sizes),
        helper.make_node(
            "Split", ["entry_columns", "entry_sizes"], [_INNER + name for name in names], axis=1
        ),
    ]


def _exit(source: TabularModel, found: list[str]) -> tuple[list[Any], list[Any]]:
    """Nodes from the inner outputs to the wire, and the outputs."""
    nodes: list[Any] = []
    outputs: list[Any] = []
    for name, inner in output_names(source, found).items():
        kind = TensorProto.FLOAT
        if name == LABEL:
            text = source.classes is not None and source.classes.dtype.kind == "O"
            kind = TensorProto.STRING if text else TensorProto.INT64
        columns = 1
        if name == PROBABILITIES and source.classes is not None:
            columns = len(source.classes)
        elif name != LABEL and source.classes is None:
            columns = source.columns_out
        shape = numpy_helper.from_array(np.array([-1, columns], dtype=np.int64), f"exit_{name}_of")
        cast = f"exit_{name}_cast"
        if kind == TensorProto.STRING:
            cast = _INNER + inner
        else:
            nodes.append(helper.make_node("Cast", [_INNER + inner], [cast], to=kind))
        nodes += [
            helper.make_node("Constant", [], [f"exit_{name}_of"], value=shape),
            helper.make_node("Reshape", [cast, f"exit_{name}_of"], [name]),
        ]
        outputs.append(helper.make_tensor_value_info(name, kind, [BATCH, columns]))
    return nodes, outputs


def output_names(source: TabularModel, found: list[str]) -> dict[str, str]:
    """Match the outputs of the wire with those of an inner graph, which come in the same order."""
    return dict(zip(source.answers, found, strict=False))


def _widened(name: str, output: str, dtype: DType) -> Any:
    if dtype is DType.BYTES:
        return helper.make_node("Identity", [name], [output])
    return helper.make_node("Cast", [name], [output], to=TensorProto.DOUBLE)


def _element(dtype: DType) -> Any:
    return np.dtype(object) if dtype is DType.BYTES else dtype.numpy
