"""Comparison of answers: properties of the rule, and its corner cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conch.core import DType
from conch.model_repo_builder.comparing import (
    DOUBLE,
    EXACT,
    HALF,
    SINGLE,
    differences,
    label_agreement,
    scale_of,
    tolerance_for,
)

matrices = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=3, max_side=5),
    elements=st.floats(-(2.0**30), 2.0**30, width=32),
)


@given(matrices)
def test_an_array_agrees_with_itself(array: np.ndarray) -> None:
    """No difference, whatever the values."""
    diff = differences(array, array.copy(), SINGLE, scale=scale_of([array]))
    assert diff.mismatches == 0
    assert not diff.absolute.any()


@given(matrices, st.floats(-6, -2), st.integers(0, 60))
def test_the_verdict_does_not_depend_on_the_unit(
    array: np.ndarray, fault: float, power: int
) -> None:
    """Answers in another unit are judged alike: the tolerance follows the scale."""
    want = np.where(np.abs(array) < 1, 1.0, array.astype(np.float64))
    have = want * (1 + 10**fault)
    verdicts = [
        differences(want * unit, have * unit, SINGLE, scale=scale_of([want * unit])).mismatches
        for unit in (1.0, 2.0**power)  # powers of two round nothing
    ]
    assert verdicts[0] == verdicts[1]


@given(matrices, st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_non_finite_value_on_one_side_is_a_mismatch(array: np.ndarray, value: float) -> None:
    """NaN and infinity agree with themselves only."""
    odd = array.copy()
    odd.flat[0] = value
    scale = scale_of([array])
    assert differences(array, odd, SINGLE, scale=scale).non_finite == 1
    assert differences(odd, array, SINGLE, scale=scale).mismatches == 1
    assert differences(odd, odd.copy(), SINGLE, scale=scale).mismatches == 0


def test_rounding_agrees_and_a_changed_constant_does_not() -> None:
    """The two sides of the tolerance for float32."""
    want = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    scale = scale_of([want])
    assert differences(want, want * np.float32(1 + 1e-6), SINGLE, scale=scale).mismatches == 0
    assert differences(want, want * np.float32(1 + 1e-3), SINGLE, scale=scale).mismatches > 0


def test_small_answers_are_not_accepted_for_being_small() -> None:
    """A fault in answers near 1e-9 is seen; a fixed absolute tolerance would hide it."""
    want = np.full((4, 3), 1e-9) * np.arange(1, 4)
    assert differences(want, 2 * want, SINGLE, scale=scale_of([want])).mismatches == 12


@pytest.mark.parametrize(
    ("want", "have", "mismatches"),
    [
        pytest.param(np.array([1, 2, 3]), np.array([1, 2, 4]), 1, id="integers"),
        pytest.param(np.array([True, False]), np.array([True, True]), 1, id="booleans"),
        pytest.param(
            np.array([b"a", b"b"], dtype=object), np.array([b"a", b"c"], dtype=object), 1, id="text"
        ),
    ],
)
def test_what_is_not_floating_is_equal_or_not(
    want: np.ndarray, have: np.ndarray, mismatches: int
) -> None:
    """There is no tolerance for labels."""
    assert differences(want, have, EXACT, scale=1.0).mismatches == mismatches
    assert differences(want, want.copy(), EXACT, scale=1.0).mismatches == 0


def test_another_shape_is_an_error() -> None:
    """Broadcasting would compare what does not belong together."""
    with pytest.raises(ValueError, match="shape"):
        differences(np.zeros((2, 1)), np.zeros((2, 2)), SINGLE, scale=1.0)


def test_a_tie_agrees_and_another_label_does_not() -> None:
    """Two equal scores may come in either order; a clear winner may not change."""
    want = np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    tied = np.array([[1.0, 1.0 + 1e-7, 0.0], [3.0, 0.0, 0.0]])
    other = np.array([[1.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    scale = scale_of([want])
    assert label_agreement(want, tied, SINGLE, scale=scale) == 2
    assert label_agreement(want, other, SINGLE, scale=scale) == 1


def test_the_tolerance_follows_the_coarsest_type() -> None:
    """A float64 output of a float16 graph is no better than float16."""
    assert tolerance_for(DType.FP64, coarsest=DType.FP64) is DOUBLE
    assert tolerance_for(DType.FP64, coarsest=DType.FP32) is SINGLE
    assert tolerance_for(DType.FP32, coarsest=DType.FP16) is HALF
    assert tolerance_for(DType.INT64, coarsest=DType.FP16) is EXACT
