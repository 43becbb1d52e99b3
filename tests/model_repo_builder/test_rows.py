"""Rows that are made: shapes, ranges, determinism."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conch.core import DType
from conch.model_repo_builder.rows import RowPlan, batch_sizes, make_cases, row_bytes
from conch.model_repo_builder.sources import AxisRange, Port


def plan(**changes: object) -> RowPlan:
    """A plan for ids, a mask and numbers, all of one batch and one length."""
    ports = (
        Port(name="ids", dtype=DType.INT64, dims=("n", "length")),
        Port(name="mask", dtype=DType.BOOL, dims=("n", "length")),
        Port(name="x", dtype=DType.FP32, dims=("n", 3)),
    )
    values: dict[str, object] = {
        "ports": ports,
        "axes": {"n": AxisRange(), "length": AxisRange(high=9)},
        "batch": "n",
        "batch_sizes": (1, 7, 16),
        "example": {
            "ids": np.array([[3, 5, 8, 4]]),
            "mask": np.array([[True, True, False, True]]),
            "x": np.array([[100.0, 101.0, 99.0]], dtype=np.float32),
        },
        "seed": 0,
    }
    return RowPlan(**{**values, **changes})  # type: ignore[arg-type]


def test_every_case_fits_its_ports() -> None:
    """Dimensions of one axis have one size; names and types are the inputs'."""
    cases = make_cases(plan(), lambda inputs: True)
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        ids, mask, x = (case.inputs[name] for name in ("ids", "mask", "x"))
        assert ids.shape == mask.shape == (case.rows, case.sizes["length"])
        assert x.shape == (case.rows, 3)
        assert [array.dtype.name for array in (ids, mask, x)] == ["int64", "bool", "float32"]
    assert {case.rows for case in cases} == {1, 7, 16}
    assert {case.sizes["length"] for case in cases} == {4, 7}


def test_values_stay_where_the_example_was() -> None:
    """Integers in its range, and some numbers about as large as its own."""
    cases = make_cases(plan(), lambda inputs: True)
    ids = np.concatenate([case.inputs["ids"].reshape(-1) for case in cases])
    assert ids.min() >= 3
    assert ids.max() <= 8
    ranged = next(case for case in cases if case.name.startswith("ranged"))
    assert abs(ranged.inputs["x"].mean() - 100) < 10


def test_without_an_example_integers_are_found_by_asking() -> None:
    """The largest of a few ceilings that the model takes."""
    cases = make_cases(plan(example=None), lambda inputs: int(inputs["ids"].max()) <= 50)
    ids = np.concatenate([case.inputs["ids"].reshape(-1) for case in cases])
    assert ids.min() >= 0
    assert ids.max() == 10


def test_a_seed_decides_all() -> None:
    """Equal for equal seeds, different for others."""

    def flat(seed: int) -> bytes:
        cases = make_cases(plan(seed=seed), lambda inputs: True)
        return b"".join(array.tobytes() for case in cases for array in case.inputs.values())

    assert flat(1) == flat(1)
    assert flat(1) != flat(2)


@given(st.integers(0, 4096), st.integers(1, 3), st.integers(0, 5000), st.integers(1, 10**9))
def test_batch_sizes_are_ones_that_the_model_takes(
    largest: int, low: int, more: int, row: int
) -> None:
    """Ascending, within the model's range, and never above what is served unless the model is."""
    allowed = AxisRange(low=low, high=low + more)
    sizes = batch_sizes(largest, allowed, row)
    assert list(sizes) == sorted(set(sizes))
    assert all(low <= size <= low + more for size in sizes)
    assert max(sizes) <= max(low, largest or 8)


def test_three_sizes_are_asked_where_there_are_three() -> None:
    """One row, an odd number of rows, and the largest batch."""
    assert batch_sizes(64, AxisRange(), 4) == (1, 7, 64)
    assert batch_sizes(4, AxisRange(), 4) == (1, 3, 4)
    assert batch_sizes(0, AxisRange(), 4) == (1, 7, 8)


def test_large_rows_are_asked_in_smaller_batches() -> None:
    """Verification must not need more memory than serving."""
    image = (Port(name="x", dtype=DType.FP32, dims=("n", 3, 1024, 1024)),)
    assert max(batch_sizes(256, AxisRange(), row_bytes(image))) < 8
