"""Quantiles and bounded scores as metrics of a plan: e-values, intervals, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, special

from conch.ab import (
    Claim,
    Counts,
    Direction,
    EvidenceError,
    Grid,
    Histogram,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    PlanError,
    QuantileArm,
    ScoreArm,
    StageEvidence,
    Verdict,
    analyse,
    grid_ratio_interval,
    log_e_grid_above,
    log_e_grid_below,
)
from conch.ab.histograms import GROWTH, steps_up

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

P95 = Metric(
    name="p95",
    kind=Kind.GUARDRAIL,
    measure=Measure.QUANTILE,
    direction=Direction.LOWER,
    unit="ms",
    counted_per="request",
    source="gateway",
    margin=0.3,
    level=0.95,
)
SCORE = replace(
    P95, name="score", measure=Measure.SCORE, direction=Direction.HIGHER, level=None, margin=0.05
)


def stage(
    metric: Metric,
    control: NDArray[np.float64],
    candidate: NDArray[np.float64],
    *,
    step: int = 0,
) -> StageEvidence:
    """Return a stage with one metric's histograms."""
    grid = Grid.UNIT if metric.measure is Measure.SCORE else Grid.LOGARITHMIC
    item = MetricEvidence(
        metric=metric.name,
        control=Histogram.of(control, grid),
        candidate=Histogram.of(candidate, grid),
    )
    return StageEvidence(
        step=step,
        share=candidate.size / (control.size + candidate.size),
        started_s=float(step),
        control_units=control.size,
        candidate_units=candidate.size,
        metrics=(item,),
    )


def latencies(rng: np.random.Generator, n: int, factor: float = 1.0) -> NDArray[np.float64]:
    """Return heavy-tailed latencies in ms."""
    return np.asarray(factor * rng.lognormal(3.0, 1.0, n))


def test_a_quantiles_evidence_is_the_mixture_integrated_numerically() -> None:
    """The closed form equals half of 1 plus the integral of the likelihood ratio over the prior."""
    data = latencies(np.random.default_rng(1), 400)
    arm = QuantileArm(Histogram.of(data, Grid.LOGARITHMIC), 0.9, concentration=50.0)
    for x in (20.0, 60.0, 90.0):
        number = steps_up(x)
        heads = int((data <= GROWTH**number).sum())

        def ratio(p: float, heads: int = heads) -> float:
            log_prior = 44.0 * math.log(p) + 4.0 * math.log1p(-p) - special.betaln(45.0, 5.0)
            log_ratio = heads * math.log(p / 0.9) + (400 - heads) * math.log((1 - p) / 0.1)
            return math.exp(log_prior + log_ratio)

        mass = 1.0 - float(special.betainc(45.0, 5.0, 0.9))
        integral, _ = integrate.quad(ratio, 0.9, 1.0 - 1e-12, limit=200)
        found = float(arm.log_e_below(np.array([number]))[0])
        assert found == pytest.approx(math.log(0.5 + 0.5 * integral / mass), abs=1e-6)


def test_a_scores_evidence_is_the_average_of_its_bets_one_by_one() -> None:
    """The histogram's evidence equals the product over single scores, whatever their order."""
    scores = np.random.default_rng(2).integers(0, 101, 200) / 100
    arm = ScoreArm(Histogram.of(scores, Grid.UNIT))
    number = steps_up(0.4)
    mean = GROWTH**number
    bets = 0.8 * 0.5 ** np.arange(10)
    products = [math.prod(1 + c * (x - mean) / mean for x in scores) for c in bets]
    expected = math.log(0.5 + 0.5 * sum(products) / 10)
    assert float(arm.log_e_above(np.array([number]))[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("metric", "harmless", "harmful"),
    [
        (P95, lambda rng, n: latencies(rng, n), lambda rng, n: latencies(rng, n, 1.6)),
        (
            SCORE,
            lambda rng, n: rng.beta(6.0, 2.0, n),
            lambda rng, n: rng.beta(5.0, 3.0, n),
        ),
    ],
    ids=["quantile", "score"],
)
def test_harm_is_proven_and_equality_is_shown(
    metric: Metric, harmless: Draw, harmful: Draw
) -> None:
    """A 60% higher p95 and a fallen score are harm; the same distribution is shown not worse."""
    rng = np.random.default_rng(3)
    control = harmless(rng, 40_000)
    for draw, verdict in ((harmless, Verdict.NOT_WORSE), (harmful, Verdict.HARMED)):
        found = analyse(
            metric, [stage(metric, control, draw(rng, 10_000))], assignment_unit="request"
        )
        assert found.verdict is verdict, found.because
        assert found.estimate is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.estimate <= found.upper


def test_stages_of_different_baselines_are_multiplied_not_pooled() -> None:
    """A p95 that doubles between stages in both arms alike is no effect, and evidence adds up."""
    rng = np.random.default_rng(4)
    first = stage(P95, latencies(rng, 20_000), latencies(rng, 1_000))
    second = stage(P95, latencies(rng, 10_000, 2.0), latencies(rng, 10_000, 2.0), step=1)
    found = analyse(P95, [first, second], assignment_unit="request")
    assert not found.shows(Claim.WORSE)
    pairs = [
        tuple(QuantileArm(h, 0.95) for h in (s.metrics[0].control, s.metrics[0].candidate))  # type: ignore[arg-type]
        for s in (first, second)
    ]
    single = [log_e_grid_below([pair], 1.3) for pair in pairs]  # type: ignore[list-item]
    assert log_e_grid_below(pairs, 1.3) == pytest.approx(sum(single))  # type: ignore[arg-type]


def test_intervals_are_what_the_e_values_do_not_refute() -> None:
    """Just outside of the interval the e-value refutes, at its ends it does not."""
    rng = np.random.default_rng(5)
    pair = (
        QuantileArm(Histogram.of(latencies(rng, 9_000), Grid.LOGARITHMIC), 0.5),
        QuantileArm(Histogram.of(latencies(rng, 3_000, 1.2), Grid.LOGARITHMIC), 0.5),
    )
    lower, upper = grid_ratio_interval([pair], 0.05)
    limit = math.log(40.0)
    assert lower < 1.2 < upper
    assert log_e_grid_above([pair], lower) > limit >= log_e_grid_above([pair], lower * GROWTH)
    assert log_e_grid_below([pair], upper) > limit >= log_e_grid_below([pair], upper / GROWTH)


@pytest.mark.parametrize("kind", ["quantile", "score"])
def test_equal_arms_are_rarely_told_apart_at_any_look(kind: str) -> None:
    """A/A at 8 looks, 40 runs: 'worse' at 5% in at most 5% plus three standard errors."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(40):
        shape = Grid.LOGARITHMIC if kind == "quantile" else Grid.UNIT
        parts = [Histogram(grid=shape), Histogram(grid=shape)]
        for _ in range(8):
            for arm, size in enumerate((300, 60)):
                fresh = latencies(rng, size) if kind == "quantile" else rng.random(size) < 0.2
                parts[arm] += Histogram.of(fresh, shape)
            if kind == "quantile":
                pair = (QuantileArm(parts[0], 0.9), QuantileArm(parts[1], 0.9))
                refuted = log_e_grid_above([pair], 1.0) > math.log(20)
            else:
                scores = (ScoreArm(parts[0]), ScoreArm(parts[1]))
                refuted = log_e_grid_above([scores], 1.0) > math.log(20)
            if refuted:
                wrong += 1
                break
    assert wrong / 40 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40)


def test_a_quantile_needs_a_level_and_a_histogram() -> None:
    """A level without a quantile, a quantile without one, and counts instead of values: errors."""
    with pytest.raises(PlanError):
        replace(P95, level=None)
    with pytest.raises(PlanError):
        replace(SCORE, level=0.5)
    item = MetricEvidence(metric="p95", control=Counts(units=9), candidate=Counts(units=9))
    evidence = StageEvidence(
        step=0, share=0.5, started_s=0.0, control_units=9, candidate_units=9, metrics=(item,)
    )
    with pytest.raises(EvidenceError):
        analyse(P95, [evidence], assignment_unit="request")


def test_a_quantile_too_extreme_for_its_sample_limits_nothing() -> None:
    """Twenty values say nothing of a p99: no claim, and no upper limit."""
    rng = np.random.default_rng(7)
    metric = replace(P95, level=0.99)
    found = analyse(
        metric, [stage(metric, latencies(rng, 20), latencies(rng, 20))], assignment_unit="request"
    )
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.upper == math.inf
