"""Sufficient statistics merge like pooled samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conch.ab import CannotComputeError, Counts, EvidenceError, Moments, PairMoments

VALUES = st.floats(-1e6, 1e6, allow_nan=False)
SAMPLES = hnp.arrays(np.float64, st.integers(0, 30), elements=VALUES)
PAIRS = hnp.arrays(np.float64, st.tuples(st.integers(0, 30), st.just(2)), elements=VALUES)
COUNTS = st.integers(0, 1000).flatmap(
    lambda units: st.builds(Counts, units=st.just(units), events=st.integers(0, units))
)


def _same(one: Moments | PairMoments, other: Moments | PairMoments, scale: float) -> bool:
    return all(
        math.isclose(
            getattr(one, name), getattr(other, name), rel_tol=1e-9, abs_tol=1e-9 * scale**2
        )
        for name in one.__slots__
    )


@given(SAMPLES, SAMPLES)
def test_merged_moments_equal_the_pooled_sample(
    first: np.ndarray[tuple[int], np.dtype[np.float64]],
    second: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    """Merging two summaries gives the summary of both samples together."""
    pooled = np.concatenate([first, second])
    scale = 1.0 + float(np.abs(pooled).max(initial=0.0)) * math.sqrt(pooled.size + 1)
    merged = Moments.of(first) + Moments.of(second)
    assert _same(merged, Moments.of(pooled), scale)


@given(PAIRS, PAIRS, PAIRS)
def test_merging_pairs_is_associative_and_equals_numpy(
    a: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    b: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    c: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    """Any order of merging gives numpy's covariance of everything."""
    parts = [PairMoments.of(part[:, 0], part[:, 1]) for part in (a, b, c)]
    pooled = np.concatenate([a, b, c])
    scale = 1.0 + float(np.abs(pooled).max(initial=0.0)) * math.sqrt(len(pooled) + 1)
    left, right = (parts[0] + parts[1]) + parts[2], parts[0] + (parts[1] + parts[2])
    assert _same(left, right, scale)
    assert _same(parts[0] + parts[1], parts[1] + parts[0], scale)
    if len(pooled) > 1:
        expected = np.cov(pooled.T)
        limit = 1e-9 * scale**2
        assert abs(left.variance_x - expected[0, 0]) <= limit
        assert abs(left.covariance - expected[0, 1]) <= limit


@given(COUNTS, COUNTS, COUNTS)
def test_counts_form_a_monoid(a: Counts, b: Counts, c: Counts) -> None:
    """Counts merge associatively, commute, and have the empty sample as zero."""
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Counts() == a


def test_variance_survives_a_large_offset() -> None:
    """A variance of 1 stays 1 on top of a mean of 1e9, where raw sums of squares lose it."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=10_000)
    parts = [Moments.of(chunk + 1e9) for chunk in np.array_split(noise, 50)]
    merged = sum(parts[1:], start=parts[0])
    assert math.isclose(merged.variance, float(noise.var(ddof=1)), rel_tol=1e-6)
    sums = Moments.from_sums(
        n=noise.size, total=float((noise + 1e9).sum()), squares=float(((noise + 1e9) ** 2).sum())
    )
    assert not math.isclose(sums.variance, 1.0, rel_tol=0.5)


def test_counts_are_moments_of_zeros_and_ones() -> None:
    """Counts and the moments of the same 0/1 sample agree."""
    assert _same(Counts(units=8, events=3).moments(), Moments.of([1] * 3 + [0] * 5), 1.0)


def test_what_cannot_be_computed_is_refused() -> None:
    """One value has no variance, no units have no rate, NaN has no place: errors, not numbers."""
    with pytest.raises(CannotComputeError):
        _ = Moments.of([1.0]).variance
    with pytest.raises(CannotComputeError):
        _ = Counts().rate
    with pytest.raises(EvidenceError):
        Moments.of([1.0, float("nan")])
    with pytest.raises(EvidenceError):
        Counts(units=1, events=2)
