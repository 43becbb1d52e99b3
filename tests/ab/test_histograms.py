"""Histograms on fixed grids merge like pooled samples, and know where their values lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.ab import EvidenceError, Grid, Histogram, as_json, from_json
from conch.ab.histograms import GROWTH, SCORE_STEPS, steps_down, steps_up, value_at

LATENCIES = st.lists(st.floats(1e-6, 1e9), max_size=40)
SCORES = st.lists(st.floats(0.0, 1.0), max_size=40)


@given(LATENCIES, LATENCIES)
def test_merged_histograms_equal_the_pooled_sample(one: list[float], two: list[float]) -> None:
    """Adding two histograms gives that of both samples, in either order, through JSON too."""
    first, second = Histogram.of(one, Grid.LOGARITHMIC), Histogram.of(two, Grid.LOGARITHMIC)
    pooled = Histogram.of(one + two, Grid.LOGARITHMIC)
    assert first + second == second + first == pooled
    assert from_json(Histogram, as_json(pooled)) == pooled
    assert pooled.n == len(one) + len(two)


@given(LATENCIES, st.floats(1e-6, 1e9))
def test_counts_up_to_a_point_of_the_grid_are_exact(values: list[float], at: float) -> None:
    """How many values lie at or below a grid point is the brute-force count."""
    number = steps_up(at)
    data = np.asarray(values)
    found = Histogram.of(data, Grid.LOGARITHMIC).up_to(np.array([number]))[0]
    edge = value_at(number)
    inside = np.abs(data / edge - 1.0) > 1e-8  # a value at the edge itself may fall to either side
    near = data.size - int(inside.sum())
    assert 0 <= found - int((data[inside] <= edge).sum()) <= near


@given(SCORES)
def test_a_score_lies_within_its_bin(values: list[float]) -> None:
    """A bin's ends enclose its scores; multiples of a hundredth have a bin of their own."""
    for value in values:
        number = Histogram.of([value], Grid.UNIT).bins[0]
        assert number // 2 / SCORE_STEPS - 1e-9 <= value <= (number + 1) // 2 / SCORE_STEPS + 1e-9
    exact = Histogram.of(np.arange(101) / 100, Grid.UNIT)
    assert exact.bins == tuple(range(0, 201, 2))


@pytest.mark.parametrize("ratio", [0.8, 1.0, GROWTH, 1.25, 3.0])
def test_steps_enclose_a_ratio(ratio: float) -> None:
    """Rounding down and up enclose the ratio, and agree where it is a power of the growth."""
    assert value_at(steps_down(ratio)) <= ratio * (1 + 1e-9)
    assert value_at(steps_up(ratio)) >= ratio * (1 - 1e-9)
    assert steps_up(ratio) - steps_down(ratio) <= 1


@pytest.mark.parametrize(
    ("values", "grid"),
    [([float("nan")], Grid.LOGARITHMIC), ([1.5], Grid.UNIT), ([-0.1], Grid.UNIT)],
    ids=["nan", "above-one", "below-zero"],
)
def test_values_that_have_no_bin_are_refused(values: list[float], grid: Grid) -> None:
    """What cannot be counted is an error, not a guess."""
    with pytest.raises(EvidenceError):
        Histogram.of(values, grid)


def test_histograms_on_different_grids_do_not_add_up() -> None:
    """Latencies and scores are not mixed, and a histogram's own numbers are checked."""
    with pytest.raises(EvidenceError):
        Histogram.of([0.5], Grid.UNIT) + Histogram.of([0.5], Grid.LOGARITHMIC)
    with pytest.raises(EvidenceError):
        Histogram(grid=Grid.UNIT, bins=(2, 1), counts=(1, 1))
    with pytest.raises(EvidenceError):
        Histogram(grid=Grid.UNIT, bins=(1,), counts=(0,))
    with pytest.raises(EvidenceError):
        Histogram(grid=Grid.UNIT, bins=(999,), counts=(1,))
