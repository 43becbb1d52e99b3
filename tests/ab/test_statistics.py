"""The single-look and descriptive statistics against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conch.ab import (
    CannotComputeError,
    Correction,
    Counts,
    EventSplit,
    Exposure,
    InvalidStatisticError,
    Moments,
    NormalPrior,
    PairMoments,
    QuantileSummary,
    adjusted,
    arms_of_means,
    arms_of_ratios,
    arms_with_covariate,
    balanced_units,
    betting_interval,
    difference_interval,
    duration_s,
    e_benjamini_hochberg,
    e_bonferroni,
    effect_of,
    half_width,
    log_e_ratio_below,
    log_mean_e,
    not_worse_prior,
    posterior_of,
    quantile_interval,
    sample_ratio_tests,
    score_ratio_interval,
    share_interval,
    units_for_sequence,
    units_to_find_harm,
    units_to_show_not_worse,
    welch_test,
)
from conch.ab.beta_tails import log_lower_tail, log_upper_tail
from conch.ab.boundaries import normal_mixture_bound
from conch.ab.proportions import _restricted_control_rate
from conch.ab.sample_ratio import binomial_two_sided

RNG = np.random.default_rng(5)


def test_welch_equals_scipy() -> None:
    """The t test from moments is scipy's from the values."""
    a, b = RNG.normal(1.0, 2.0, 80), RNG.normal(1.4, 1.0, 50)
    effect = effect_of(*arms_of_means(Moments.of(a), Moments.of(b)), "absolute")
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert welch_test(effect).p_value == pytest.approx(float(expected.pvalue))
    limits = expected.confidence_interval()
    assert welch_test(effect).lower == pytest.approx(float(limits.low))


def test_a_covariate_gives_the_regression_estimate_with_less_variance() -> None:
    """With a strong covariate the error shrinks by sqrt(1 - correlation squared)."""
    base = RNG.normal(0, 1, (2, 20_000))
    after = base + RNG.normal(0, 0.5, base.shape)
    pairs = [PairMoments.of(after[arm], base[arm]) for arm in (0, 1)]
    plain = effect_of(*arms_of_means(*(Moments.of(row) for row in after)), "absolute")
    less = effect_of(*arms_with_covariate(pairs[0], pairs[1]), "absolute")
    correlation = np.corrcoef(after.ravel(), base.ravel())[0, 1]
    assert less.se / plain.se == pytest.approx(math.sqrt(1 - correlation**2), rel=0.02)


def test_the_delta_method_matches_resampling() -> None:
    """The standard error of a ratio is that of 2,000 resampled ratios, within 8%."""
    sessions = RNG.poisson(5, 3_000) + 1.0
    clicks = RNG.binomial(sessions.astype(int), RNG.beta(2, 8, 3_000)).astype(float)
    pair = PairMoments.of(clicks, sessions)
    arm = arms_of_ratios(pair, pair)[0]
    rows = RNG.integers(0, 3_000, (2_000, 3_000))
    resampled = clicks[rows].sum(axis=1) / sessions[rows].sum(axis=1)
    assert math.sqrt(arm.variance / arm.n) == pytest.approx(float(resampled.std()), rel=0.08)


def test_no_variance_is_not_a_result() -> None:
    """Arms whose values are all alike are refused, so that no canary wins by silence."""
    with pytest.raises(CannotComputeError):
        effect_of(*arms_of_means(Moments.of([1, 1, 1]), Moments.of([1, 1, 2])))


@given(st.floats(0.001, 0.999), st.floats(0.5, 3_000), st.floats(0.5, 3_000))
def test_log_tails_agree_with_scipy_and_stay_finite(t: float, a: float, b: float) -> None:
    """Where scipy's tail does not underflow both agree; elsewhere ours is finite and tiny."""
    for ours, theirs in (
        (log_upper_tail(t, a, b), float(stats.beta.sf(t, a, b))),
        (log_lower_tail(t, a, b), float(stats.beta.cdf(t, a, b))),
    ):
        assert math.isfinite(ours)
        if theirs > 1e-250:
            assert ours == pytest.approx(math.log(theirs), rel=1e-9, abs=1e-12)
        else:
            assert ours < -570


def test_the_tail_is_continuous_where_the_method_changes() -> None:
    """Around 1e-280 the direct tail and the continued fraction meet."""
    points = [log_upper_tail(t, 20, 2_000) for t in np.linspace(0.27, 0.33, 200)]
    steps = np.diff(points)
    assert min(points) < -650 < max(points)
    assert np.abs(np.diff(steps)).max() < 0.01


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.01, 0.99))
def test_the_binomial_test_equals_scipy(successes: int, trials: int, probability: float) -> None:
    """The bisection finds the same outcomes as scipy's search."""
    successes = min(successes, trials)
    expected = float(stats.binomtest(successes, trials, probability).pvalue)
    assert binomial_two_sided(successes, trials, probability) == pytest.approx(expected, rel=1e-6)


def test_units_where_none_should_be_are_an_error_not_a_p_value() -> None:
    """An arm without a share that got units is told; without units it is left out."""
    with pytest.raises(CannotComputeError):
        sample_ratio_tests([50, 50, 3], [0.5, 0.5, 0.0])
    assert sample_ratio_tests([50, 50, 0], [0.5, 0.5, 0.0]).dof == 1


def test_the_restricted_rate_is_the_most_likely_one() -> None:
    """Under a given difference no other control rate has a higher likelihood (brute force)."""
    control, treatment, null = (
        Counts(units=800, events=400),
        Counts(units=500, events=290),
        0.05,
    )
    rates = np.linspace(1e-6, 1 - null - 1e-6, 200_001)
    likelihood = stats.binom.logpmf(400, 800, rates) + stats.binom.logpmf(290, 500, rates + null)
    best = float(rates[np.argmax(likelihood)])
    assert _restricted_control_rate(control, treatment, null) == pytest.approx(best, abs=1e-5)
    lower, upper = difference_interval(control, treatment)
    assert lower < treatment.rate - control.rate < upper


def test_swapped_poisson_arms_invert_the_interval() -> None:
    """The interval of b over a is the inverse of that of a over b."""
    a, b = Exposure(events=30, amount=1_000), Exposure(events=60, amount=1_500)
    lower, upper = score_ratio_interval(a, b)
    swapped = score_ratio_interval(b, a)
    assert (1 / upper, 1 / lower) == pytest.approx(swapped)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(list(Correction)))
def test_adjusted_p_values_are_ordered_and_never_smaller(
    p_values: list[float], correction: Correction
) -> None:
    """An adjustment keeps the order and never makes a p-value smaller."""
    found = adjusted(p_values, correction)
    assert all(new >= old - 1e-12 for new, old in zip(found, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(found)[order]) >= -1e-12).all()


def test_families_of_e_values() -> None:
    """G / alpha for each, the mean against 1 / alpha, and e-BH in between."""
    logs = [math.log(value) for value in (100.0, 45.0, 1.0)]
    assert e_bonferroni(logs, 0.05) == (True, False, False)
    assert e_benjamini_hochberg(logs, 0.05) == (True, True, False)
    assert log_mean_e(logs) == pytest.approx(math.log(146 / 3))
    with pytest.raises(InvalidStatisticError):
        log_mean_e([])


def test_balanced_arms_count_all_their_units_and_small_ones_few() -> None:
    """Information decides: a 1% arm makes 100,000 units worth fewer than 4,000 balanced ones."""
    assert balanced_units(500, 500) == 1_000
    assert balanced_units(99_000, 1_000) == pytest.approx(3_960)


def test_the_half_width_is_the_normal_mixture_boundary() -> None:
    """With unit variance the half-width times n is Howard's boundary at time n."""
    width = half_width(1 / math.sqrt(700), 700, alpha=0.05, tuning_n=500)
    assert width * 700 == pytest.approx(normal_mixture_bound(700, 0.05, v_opt=500, alpha_opt=0.05))


def test_betting_intervals_hold_the_mean_and_shrink() -> None:
    """The mean of 300 Beta values stays inside; the running intersection only shrinks."""
    lower, upper = betting_interval(RNG.beta(2, 6, 300))
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) <= 0).all()
    assert lower[-1] < 0.25 < upper[-1]
    assert upper[-1] - lower[-1] < 0.1
    with pytest.raises(InvalidStatisticError):
        betting_interval([0.5, 1.5])


@given(st.integers(1, 500), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_share_intervals_hold_the_observed_share(trials: int, successes: int) -> None:
    """The observed share is never rejected, and mirrored data give the mirrored interval."""
    successes = min(successes, trials)
    lower, upper = share_interval(successes, trials)
    assert lower <= successes / trials <= upper
    mirrored = share_interval(trials - successes, trials)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((lower, upper), abs=1e-6)


def test_quantile_intervals_shrink_around_the_quantile() -> None:
    """More values, a narrower interval; too few values, an open one."""
    values = RNG.exponential(1.0, 20_000)
    widths = []
    for size in (500, 20_000):
        found = quantile_interval(values[:size], 0.9)
        assert found.lower < math.log(10) < found.upper
        widths.append(found.upper - found.lower)
    assert widths[1] < widths[0] / 3
    assert quantile_interval(values[:20], 0.9).upper == math.inf
    closed = quantile_interval(values[:20], 0.9, close_open_sides=True)
    assert closed.upper == values[:20].max()  # misses with probability 0.9^20 = 12%
    with pytest.raises(CannotComputeError):
        QuantileSummary(level=0.99, n=200, quantile=1.0, lower=0.9, upper=1.1).arm()


def test_a_sharp_prior_pulls_the_posterior_to_itself() -> None:
    """A flat prior keeps the estimate, a sharp one at zero replaces it."""
    arms = arms_of_means(Moments.of(RNG.normal(10, 1, 400)), Moments.of(RNG.normal(11, 1, 400)))
    flat = posterior_of(*arms)
    sharp = posterior_of(*arms, prior=NormalPrior(variance=1e-9))
    assert flat.mean == pytest.approx(effect_of(*arms).estimate)
    assert abs(sharp.mean) < 1e-3
    assert flat.risk_treatment < 1e-6 < flat.risk_control
    worse = posterior_of(*arms, lower_is_better=True)
    assert worse.chance_to_win == pytest.approx(1 - flat.chance_to_win, abs=1e-12)


def test_planned_units_are_just_enough() -> None:
    """The planned number of units reaches the threshold, one fewer does not."""
    units = units_to_show_not_worse(0.01, 0.25, share=0.05)
    reached = [
        log_e_ratio_below(
            [EventSplit(candidate=round(n * 0.01), control=round(n * 19 * 0.01), share=0.05)],
            1.25,
            prior=not_worse_prior(0.25),
        )
        > math.log(20)
        for n in (units - 1, units)
    ]
    assert reached == [False, True]
    assert 11_000 < units < 16_000  # simulated median of the slowest of three: 14,000
    assert units_to_find_harm(0.01, 2.0, share=0.05) < units_to_find_harm(0.01, 1.5, share=0.05)
    assert units_for_sequence(1.0, 0.1) > units_for_sequence(1.0, 0.2)
    assert duration_s(1_000, 50) == 20
    with pytest.raises(CannotComputeError):
        duration_s(1_000, 0)
