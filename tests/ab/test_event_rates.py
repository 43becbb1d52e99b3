"""The event-split e-process: exact validity, stages, intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from conch.ab import (
    CannotComputeError,
    EventSplit,
    InvalidStatisticError,
    RatioPrior,
    log_e_equal,
    log_e_ratio_above,
    log_e_ratio_below,
    log_e_ratio_differs,
    log_e_share_below,
    rate_ratio,
    rate_ratio_interval,
)

COUNTS = st.integers(0, 3000)
SHARES = st.floats(0.01, 0.99)
RATIOS = st.floats(0.3, 3.0)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("bound", [0.9, 1.0, 1.25])
@pytest.mark.parametrize("inside", [1.0, 0.7])
def test_the_expected_e_value_under_the_null_is_at_most_one(
    share: float, bound: float, inside: float
) -> None:
    """Summed over every outcome of 60 events, E[e] is 1 at the null's edge and less inside."""
    for function, ratio in (
        (log_e_ratio_above, bound * inside),
        (log_e_ratio_below, bound / inside),
    ):
        theta = EventSplit(candidate=0, control=0, share=share).theta(ratio)
        mean = sum(
            math.exp(function([EventSplit(candidate=x, control=60 - x, share=share)], bound))
            * float(stats.binom.pmf(x, 60, theta))
            for x in range(61)
        )
        assert mean <= 1 + 1e-9
        if inside == 1.0:
            assert mean == pytest.approx(1.0, abs=1e-9)


def test_the_product_over_stages_has_expectation_one() -> None:
    """Over all outcomes of two stages of different share, E[e] is 1: the carried prior is fair."""
    total = [0.0, 0.0]
    first, second = (EventSplit(candidate=0, control=0, share=share) for share in (0.05, 0.5))
    for x in range(13):
        for y in range(13):
            stages = [
                EventSplit(candidate=x, control=12 - x, share=0.05),
                EventSplit(candidate=y, control=12 - y, share=0.5),
            ]
            weight = stats.binom.pmf(x, 12, first.theta(1.2)) * stats.binom.pmf(
                y, 12, second.theta(1.2)
            )
            for index, prior in enumerate((None, RatioPrior(centre=1.6, log_sd=0.3))):
                log_e = log_e_ratio_above(stages, 1.2, prior=prior)
                total[index] += float(weight) * math.exp(log_e)
    assert total == pytest.approx([1.0, 1.0], abs=1e-9)


@given(COUNTS, COUNTS, COUNTS, COUNTS, SHARES, RATIOS)
def test_stages_of_equal_share_are_the_pooled_stage(
    a: int, b: int, c: int, d: int, share: float, bound: float
) -> None:
    """Where the share did not change, cutting into stages changes nothing."""
    parts = [
        EventSplit(candidate=a, control=b, share=share),
        EventSplit(candidate=c, control=d, share=share),
    ]
    pooled = [EventSplit(candidate=a + c, control=b + d, share=share)]
    for function in (log_e_ratio_above, log_e_ratio_below, log_e_ratio_differs):
        assert function(parts, bound) == pytest.approx(function(pooled, bound), rel=1e-7, abs=1e-6)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.05, 0.95), st.floats(0.5, 2.0))
@settings(max_examples=25, deadline=None)
def test_the_closed_form_is_the_integral_over_the_prior(
    x: int, y: int, share: float, bound: float
) -> None:
    """The e-value equals the likelihood ratio averaged numerically over the truncated prior."""
    split = EventSplit(candidate=x, control=y, share=share)
    t = split.theta(bound)
    prior = stats.beta(100 * t, 100 * (1 - t))

    def log_ratio(theta: float) -> float:
        return x * math.log(theta / t) + y * math.log((1 - theta) / (1 - t))

    peak = min(max((x + 100 * t) / (x + y + 100), t), 1 - 1e-9)
    shift = log_ratio(peak)

    def density(theta: float) -> float:
        return math.exp(log_ratio(theta) - shift) * float(prior.pdf(theta))

    value, _ = integrate.quad(density, t, 1 - 1e-12, points=[peak], limit=500, epsabs=0)
    expected = shift + math.log(value / float(prior.sf(t)))
    assert log_e_ratio_above([split], bound) == pytest.approx(expected, abs=1e-5)


def test_mirrored_arms_swap_above_and_below() -> None:
    """Evidence that the candidate's rate is lower is evidence that the control's is higher."""
    split = EventSplit(candidate=40, control=900, share=0.05)
    assert log_e_ratio_below([split], 1.25) == pytest.approx(
        log_e_ratio_above([split.mirrored], 1 / 1.25), abs=1e-9
    )


def test_nothing_overflows_in_an_incident() -> None:
    """A million failures give finite evidence for harm and finite evidence to the contrary."""
    incident = [EventSplit(candidate=1_000_000, control=20, share=0.05)]
    assert 1e6 < log_e_ratio_above(incident) < math.inf
    assert -100 < log_e_ratio_below(incident) < 0


@given(st.integers(1, 2000), st.integers(1, 2000), SHARES)
@settings(max_examples=50)
def test_the_interval_is_what_the_test_does_not_reject(x: int, y: int, share: float) -> None:
    """At finite limits the two-sided e-value is exactly 1/alpha, and the estimate lies between."""
    stages = [EventSplit(candidate=x, control=y, share=share)]
    lower, upper = rate_ratio_interval(stages, 0.05)
    assert lower <= rate_ratio(stages) <= upper
    for limit in {lower, upper} - {0.0, math.inf}:
        assert log_e_ratio_differs(stages, limit) == pytest.approx(math.log(20), abs=1e-5)


def test_two_arms_are_a_case_of_many() -> None:
    """The closed form for any number of arms agrees with the two-arm one."""
    stages = [EventSplit(candidate=30, control=380, share=0.05)]
    assert log_e_equal([380, 30], [0.95, 0.05]) == pytest.approx(log_e_ratio_differs(stages))


def test_without_control_events_there_is_no_estimate() -> None:
    """A ratio to nothing is refused, and its interval is open upwards."""
    stages = [EventSplit(candidate=3, control=0, share=0.5)]
    with pytest.raises(CannotComputeError):
        rate_ratio(stages)
    assert rate_ratio_interval(stages, 0.05)[1] == math.inf
    with pytest.raises(InvalidStatisticError):
        log_e_equal([1, 2], [0.5, 0.4])


def test_a_share_below_a_bound_is_an_e_value() -> None:
    """At the bound the expected e-value over all outcomes is 1, above it less (exact sums)."""
    units, bound = 60, 0.1
    for share, limit in ((bound, 1.0), (1.5 * bound, 0.999)):
        expected = sum(
            float(stats.binom.pmf(events, units, share))
            * math.exp(log_e_share_below(events, units, bound))
            for events in range(units + 1)
        )
        assert expected <= limit + 1e-9
    assert log_e_share_below(0, 0, bound) == pytest.approx(0.0)


def test_a_share_below_a_bound_is_shown_without_any_event() -> None:
    """Units without an event prove a low share; as many events as the bound allows do not."""
    assert log_e_share_below(0, 3_000, 0.002) > math.log(20)
    assert log_e_share_below(6, 3_000, 0.002) < 0.0
    with pytest.raises(InvalidStatisticError):
        log_e_share_below(2, 1, 0.5)
