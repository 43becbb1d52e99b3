"""The generated model.py's own work: joining and splitting requests, text, threads."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from conch.model_repo_builder import portable_model
from conch.model_repo_builder.portable_model import Graph, joined, rows_of, split


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_splitting_undoes_joining(sizes: list[int]) -> None:
    """Every request gets its own rows back, in order."""
    starts = np.cumsum([0, *sizes])
    feeds = [
        {"x": np.arange(start, start + size)[:, None]}
        for start, size in zip(starts, sizes, strict=False)
    ]
    parts = split([joined(feeds)["x"]], [rows_of(feed) for feed in feeds])
    for feed, (part,) in zip(feeds, parts, strict=True):
        np.testing.assert_array_equal(part, feed["x"])


def test_an_output_that_cannot_be_split_is_an_error() -> None:
    """Rather than to give a caller rows of another."""
    with pytest.raises(ValueError, match="3 rows"):
        split([np.zeros((2, 4))], [1, 2])


def test_text_goes_in_and_comes_out_as_bytes(
    tmp_path: Path, make_graph: Callable[..., Any]
) -> None:
    """Triton hands over and takes bytes, ONNX Runtime text."""
    text = TensorProto.STRING
    model = make_graph(
        [helper.make_node("StringConcat", ["s", "s"], ["t"])],
        inputs=[("s", text, ["n", 1])],
        outputs=[("t", text, ["n", 1])],
    )
    onnx.save(model, tmp_path / "model.onnx")
    graph = Graph(str(tmp_path / "model.onnx"))
    rows = np.array([["grün".encode()], [b""]], dtype=object)
    (answer,) = graph.run({"s": rows}, ["t"])
    assert answer.tolist() == [["grüngrün".encode()], [b""]]


def test_it_stands_alone() -> None:
    """The server's environment has NumPy, ONNX Runtime and Triton's own module, and no conch."""
    tree = ast.parse(Path(portable_model.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {
        "__future__",
        "json",
        "numpy",
        "onnxruntime",
        "openvino",
        "os",
        "torch",
        "triton_python_backend_utils",
        "typing",
    }
