"""Recurrent networks: no rows are never asked of ONNX Runtime, which would end the process."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conch.model_repo_builder.onnx_sessions import OnnxSession


def _lstm() -> bytes:
    random = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w", (1, 8, 3)), ("r", (1, 8, 2)), ("b", (1, 16)))
    ]
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=2, layout=0)],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, "rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 1, "rows", 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_rows_are_answered_and_no_rows_are_refused() -> None:
    """A graph with an LSTM answers rows; an empty batch is an error and not the process's end."""
    session = OnnxSession(_lstm())
    assert session.run({"x": np.ones((4, 3, 3), np.float32)})["y"].shape == (4, 1, 3, 2)
    with pytest.raises(ValueError, match="empty batch"):
        session.run({"x": np.ones((4, 0, 3), np.float32)})
