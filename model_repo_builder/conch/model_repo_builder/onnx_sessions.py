"""ONNX Runtime on the CPU, as the generated `model.py` uses it: one thread, text as UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from .errors import UnsupportedGraphError
from .sources import Arrays

_QUIET = 4
_RECURRENT = (b"LSTM", b"GRU", b"RNN")
"""Operators over which ONNX Runtime 1.32 ends the whole process when there are no rows."""


class OnnxSession:
    """A loaded graph.

    Args:
        graph: The serialised `ModelProto`.
        optimised: Whether ONNX Runtime may rewrite it. Served graphs are; a graph that others are
            compared with is run as it is written.

    Raises:
        UnsupportedGraphError: ONNX Runtime does not take the graph.
    """

    def __init__(self, graph: bytes, *, optimised: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        if not optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no public class
            raise UnsupportedGraphError(
                f"ONNX Runtime {onnxruntime.__version__} does not load the graph: "
                f"{str(error).splitlines()[0][:500]}",
                hint="It lacks the operator, or has it for float32 only.",
            ) from error
        # Names of operators are found as they stand; a tensor of that name costs one case, no more.
        self._needs_rows = any(name in graph for name in _RECURRENT)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows; raises what ONNX Runtime raises for rows that the graph does not take.

        Raises:
            ValueError: There are no rows, and the graph has an operator that needs some.
        """
        if self._needs_rows and any(array.size == 0 for array in inputs.values()):
            raise ValueError("ONNX Runtime runs no recurrent operator on an empty batch")
        feed = {name: _text(inputs[name]) for name in self._inputs}
        answer: Sequence[Any] = self._session.run(self._outputs, feed)
        return dict(zip(self._outputs, map(_bytes, answer), strict=True))


def _text(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "OSU":
        return np.ascontiguousarray(array)
    flat = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
    return np.array(flat, dtype=object).reshape(array.shape)


def _bytes(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "OSU":
        return array
    found = np.empty(array.size, dtype=object)
    found[:] = [str(item).encode() for item in array.reshape(-1)]
    return found.reshape(array.shape)
