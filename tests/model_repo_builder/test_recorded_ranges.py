"""Ranges that whoever logged a model recorded: read, refused, and asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from conch.core import DType
from conch.model_repo_builder.asking import ask
from conch.model_repo_builder.errors import RangesInvalidError
from conch.model_repo_builder.loading import load_source
from conch.model_repo_builder.mlflow_models import read_mlflow_model
from conch.model_repo_builder.recorded_ranges import recorded_ranges
from conch.model_repo_builder.sources import Port

X = Port(name="x", dtype=DType.FP32, dims=("n", 3))
IDS = Port(name="ids", dtype=DType.INT64, dims=("n", 8))
TEXT = Port(name="text", dtype=DType.BYTES, dims=("n", 1))


@pytest.mark.parametrize(
    ("value", "inputs", "columns", "expected"),
    [
        ({"x": [0, 16]}, (X, IDS), (), {"x": (0, 16)}),
        ({"x": (-1.5, 2), "ids": [0, 9]}, (X, IDS), (), {"x": (-1.5, 2), "ids": (0, 9)}),
        ({"": [0, 1]}, (X,), (), {"x": (0, 1)}),
        ({"age": [18, 95], "pay": [0, 9e5]}, (X,), ("age", "pay"), {"x": (0, 9e5)}),
        ({"age": [3, 3]}, (X,), ("age",), {"x": (3, 3)}),
        ({}, (X,), (), {}),
    ],
    ids=["one", "two", "unnamed", "packed columns", "a constant", "none"],
)
def test_ranges_are_those_of_tensors(
    value: Any, inputs: tuple[Port, ...], columns: tuple[str, ...], expected: Any
) -> None:
    """Columns that travel in one tensor widen that one."""
    assert recorded_ranges({"conch.ranges": value}, inputs, columns) == expected
    assert recorded_ranges({"other": value}, inputs, columns) == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0, 1], "a list"),
        ({"y": [0, 1]}, "'y' is no input of numbers; those are: ids, x"),
        ({"text": ["a", "b"]}, "'text' is no input of numbers"),
        ({"x": [1, 0]}, "not .smallest, largest."),
        ({"x": [0]}, "not .smallest, largest."),
        ({"x": [0, float("nan")]}, "not .smallest, largest."),
        ({"x": [False, True]}, "not .smallest, largest."),
        ({"x": "0..1"}, "not .smallest, largest."),
        ({7: [0, 1]}, "7 is no input"),
    ],
    ids=str,
)
def test_what_is_no_range_is_refused(value: Any, words: str) -> None:
    """The message says which entry, and the hint how it is written."""
    with pytest.raises(RangesInvalidError, match=words) as error:
        recorded_ranges({"conch.ranges": value}, (X, IDS, TEXT), ())
    assert "[smallest, largest]" in error.value.hint


def test_recorded_ranges_are_asked(tmp_path: Path, request_for: Any) -> None:
    """A value that no row of the example comes near is among the rows, MLflow's file between."""
    rows = np.random.default_rng(0).random((40, 2))
    fitted = LogisticRegression().fit(rows, rows[:, 0] > 0.5)
    path = tmp_path / "model"
    mlflow.sklearn.save_model(
        fitted,
        path=str(path),
        input_example=rows[:5],
        metadata={"conch.ranges": {"": [0, 12345.5]}},
        serialization_format="skops",
        pip_requirements=[],
    )
    logged = read_mlflow_model(path)
    source, request = load_source(logged), request_for(path)

    def largest(metadata: Any) -> float:
        asked = ask(source, replace(request, seed=1), metadata=metadata)
        edges = [one.case.inputs for one in asked.answered if one.case.name.startswith("edges")]
        return max(float(np.abs(inputs["input"]).max()) for inputs in edges)

    assert largest(logged.metadata) == 123455
    assert largest({}) < 100
