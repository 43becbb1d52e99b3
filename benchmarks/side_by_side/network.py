"""The model that every server runs: a 16-64-4 network as ONNX, with rows and their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MODEL: Final = "mlp"
INPUT, OUTPUT = "x", "y"
TOLERANCE: Final = 1e-4

_ROWS: Final = 256
_WIDTHS: Final = (16, 64, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The graph with questions and right answers.

    Attributes:
        path: The ONNX file.
        rows: float32[256, 16].
        answers: float32[256, 4], computed by ONNX Runtime in this process.
    """

    path: Path
    rows: np.ndarray[Any, np.dtype[np.float32]]
    answers: np.ndarray[Any, np.dtype[np.float32]]


def make_network(folder: Path) -> Network:
    """Write the graph into a folder and ask it directly."""
    path = folder / f"{MODEL}.onnx"
    onnx.save(graph(), path)
    random = np.random.default_rng(0)
    rows = random.standard_normal((_ROWS, _WIDTHS[0])).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return Network(path=path, rows=rows, answers=session.run([OUTPUT], {INPUT: rows})[0])


def graph() -> Any:
    """Return the ONNX model: Gemm, Relu, Gemm with fixed weights."""
    random = np.random.default_rng(7)
    wide, hidden, narrow = _WIDTHS
    shapes = {"w1": (wide, hidden), "b1": (hidden,), "w2": (hidden, narrow), "b2": (narrow,)}
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.2, name)
        for name, shape in shapes.items()
    ]
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", [INPUT, "w1", "b1"], ["h"]),
                helper.make_node("Relu", ["h"], ["r"]),
                helper.make_node("Gemm", ["r", "w2", "b2"], [OUTPUT]),
            ],
            MODEL,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", wide])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", narrow])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def inference_body(row: np.ndarray[Any, Any]) -> str:
    """Return a request of the Open Inference Protocol over HTTP for one row."""
    tensor = {"name": INPUT, "shape": [1, len(row)], "datatype": "FP32", "data": row.tolist()}
    return json.dumps({"inputs": [tensor]})


def inference_answer(body: bytes) -> list[float]:
    """Return the numbers of an answer of that protocol."""
    values: list[float] = json.loads(body)["outputs"][0]["data"]
    return values


def plain_body(row: np.ndarray[Any, Any]) -> str:
    """Return a request with named arguments and nested lists for one row, as BentoML takes it."""
    return json.dumps({INPUT: [row.tolist()]})


def plain_answer(body: bytes) -> list[float]:
    """Return the numbers of an answer that is a list of rows."""
    values: list[float] = json.loads(body)[0]
    return values
