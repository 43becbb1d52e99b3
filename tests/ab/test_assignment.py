"""Assignment: bulk equals one at a time, coverage never moves anybody, shares come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.ab import (
    NOT_ASSIGNED,
    BucketRange,
    Experiment,
    HashVersion,
    Namespace,
    PlanError,
    bucket,
    buckets,
)
from conch.ab.hashing import fnv1a32

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
UNITS = [f"user-{number}" for number in range(20_000)]


@given(TEXTS, st.lists(TEXTS, max_size=8), st.sampled_from([1, 2]))
def test_bulk_hashing_equals_single_hashing(
    seed: str, values: list[str], version: HashVersion
) -> None:
    """The vectorised hash gives the same buckets, emoji, NULs and empty strings included."""
    assert buckets(seed, values, version).tolist() == [bucket(seed, v, version) for v in values]


def test_characters_beyond_16_bits_hash_as_javascript_does() -> None:
    """An emoji is two UTF-16 code units, as charCodeAt gives them: 0xD83D, 0xDE00."""
    state = 0x811C9DC5
    for unit in (0xD83D, 0xDE00):
        state = ((state ^ unit) * 0x01000193) % 2**32
    assert fnv1a32("\N{GRINNING FACE}") == state


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0.05, 1), min_size=2, max_size=5))
def test_raising_coverage_moves_nobody(low: float, high: float, weights: list[float]) -> None:
    """Whoever is in a variation at a lower coverage is in the same one at any higher coverage."""
    low, high = sorted((low, high))
    shares = [weight / sum(weights) for weight in weights]
    before, after = (
        Experiment.weighted("grow", len(shares), coverage=coverage, weights=shares)
        for coverage in (low, high)
    )
    chosen = before.variations_of(UNITS[:500])
    assigned = chosen != NOT_ASSIGNED
    assert (after.variations_of(UNITS[:500])[assigned] == chosen[assigned]).all()


def test_shares_come_out_as_planned() -> None:
    """20,000 units split 20/30/50 within four standard errors."""
    weights = [0.2, 0.3, 0.5]
    chosen = Experiment.weighted("shares", 3, weights=weights).variations_of(UNITS)
    for index, weight in enumerate(weights):
        error = math.sqrt(weight * (1 - weight) / len(UNITS))
        assert abs(float(np.mean(chosen == index)) - weight) < 4 * error


def test_experiments_of_one_namespace_exclude_each_other() -> None:
    """Two halves of a namespace share no unit, and together hold every unit."""
    first, second = (
        Experiment.weighted(key, 2, namespace=Namespace(name="page", start=start, end=end))
        for key, start, end in (("one", 0.0, 0.5), ("two", 0.5, 1.0))
    )
    in_first = first.variations_of(UNITS) != NOT_ASSIGNED
    in_second = second.variations_of(UNITS) != NOT_ASSIGNED
    assert (in_first ^ in_second).all()
    assert first.variation_of(UNITS[3]) == first.variations_of(UNITS[:4])[3]


def test_parallel_experiments_are_independent() -> None:
    """Under version 2 the arms of two experiments are uncorrelated (four standard errors)."""
    one, two = (Experiment.weighted(key, 2).variations_of(UNITS) for key in ("exp-1", "exp-2"))
    assert abs(float(np.corrcoef(one, two)[0, 1])) < 4 / math.sqrt(len(UNITS))


def test_ranges_have_to_match_the_variations() -> None:
    """A range too few is refused."""
    with pytest.raises(PlanError):
        Experiment(key="x", variations=2, ranges=(BucketRange(0.0, 1.0),))
