"""Error rates of the decision, simulated with fixed seeds.

A claim "at most r" fails when more than r + 3 standard errors of the binomial are seen: a correct
product fails about one time in a thousand if the seed were changed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from conch.ab import (
    Action,
    Counts,
    Direction,
    Evidence,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    Moments,
    PairMoments,
    ReleasePlan,
    StageEvidence,
    Step,
    arms_of_means,
    decide,
    effect_of,
    log_e_sample_ratio,
    sequence_of,
)

RUNS = 150


def allowed(rate: float, runs: int = RUNS) -> float:
    """Return the largest share that a true rate lets one see, three standard errors up."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / runs)


def plan_of(
    share: float, *margins: float, unit: str = "request", ratio: bool = False
) -> ReleasePlan:
    """Return a one-step plan with one guardrail per margin."""
    metrics = tuple(
        Metric(
            name=f"m{index}",
            kind=Kind.GUARDRAIL,
            measure=Measure.RATIO if ratio else Measure.EVENT_RATE,
            direction=Direction.LOWER,
            unit="share",
            counted_per=unit,
            source="simulation",
            margin=margin,
        )
        for index, margin in enumerate(margins)
    )
    return ReleasePlan(
        steps=(Step(weight=round(share * 10_000)),), metrics=metrics, assignment_unit=unit
    )


def evidence_of(share: float, items: tuple[MetricEvidence, ...]) -> Evidence:
    """Return evidence of one stage whose units are those of the first metric."""
    stage = StageEvidence(
        step=0,
        share=share,
        started_s=0.0,
        control_units=items[0].control.n,
        candidate_units=items[0].candidate.n,
        metrics=items,
    )
    return Evidence(stages=(stage,), cut_s=0.0)


def run(
    rng: np.random.Generator,
    plan: ReleasePlan,
    rates: tuple[float, ...],
    ratios: tuple[float, ...],
    *,
    look: int,
    looks: int,
) -> tuple[Action | None, int]:
    """Simulate one release; return how it ended and the candidate's units by then."""
    share = plan.steps[0].weight / 10_000
    n = m = 0
    x, y = np.zeros(len(rates), int), np.zeros(len(rates), int)
    for _ in range(looks):
        to = int(rng.binomial(round(look / share), share))
        n, m = n + to, m + round(look / share) - to
        x = x + rng.binomial(to, np.array(rates) * ratios)
        y = y + rng.binomial(round(look / share) - to, rates)
        items = tuple(
            MetricEvidence(
                metric=metric.name,
                control=Counts(units=m, events=int(y[index])),
                candidate=Counts(units=n, events=int(x[index])),
            )
            for index, metric in enumerate(plan.metrics)
        )
        action = decide(plan, evidence_of(share, items), 0.0).action
        if action in (Action.ROLL_BACK, Action.PROMOTE):
            return action, n
    return None, n


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("rate", [0.005, 0.1])
def test_identical_versions_are_rarely_rolled_back(share: float, rate: float) -> None:
    """At 8 looks, any share and rate: at most 5% of A/A releases are rolled back."""
    rng = np.random.default_rng(11)
    plan = plan_of(share, 0.01)  # a margin so small that nothing is promoted before the end
    ended = [run(rng, plan, (rate,), (1.0,), look=250, looks=8)[0] for _ in range(RUNS)]
    assert ended.count(Action.ROLL_BACK) / RUNS <= allowed(0.05)


def test_a_candidate_at_the_margin_is_rarely_promoted() -> None:
    """Errors exactly 1.25 times the control's at margin 0.25: at most 5% are promoted."""
    rng = np.random.default_rng(12)
    plan = plan_of(0.05, 0.25, 0.2)
    ended = [
        run(rng, plan, (0.02, 0.05), (1.25, 1.0), look=1_000, looks=25)[0] for _ in range(RUNS)
    ]
    assert ended.count(Action.PROMOTE) / RUNS <= allowed(0.05)
    assert ended.count(Action.ROLL_BACK) / RUNS > 0.8


def test_doubled_errors_are_found_within_1800_candidate_requests() -> None:
    """Errors from 1% to 2% at a 5% share, a look each 250 requests: median at most 1,800."""
    rng = np.random.default_rng(13)
    plan = plan_of(0.05, 0.25)
    ended = [run(rng, plan, (0.01,), (2.0,), look=250, looks=40) for _ in range(RUNS)]
    assert all(action is Action.ROLL_BACK for action, _ in ended)
    assert float(np.median([units for _, units in ended])) <= 1_800


def test_identical_versions_are_promoted_in_time() -> None:
    """Three guardrails at a 5% share: the median A/A promotion needs at most 18,000 requests."""
    rng = np.random.default_rng(14)
    plan = plan_of(0.05, 0.25, 0.2, 0.1)
    ended = [
        run(rng, plan, (0.01, 0.05, 0.1), (1.0, 1.0, 1.0), look=1_000, looks=40) for _ in range(60)
    ]
    promoted = [units for action, units in ended if action is Action.PROMOTE]
    assert len(promoted) / 60 >= 0.85
    assert float(np.median(promoted)) <= 18_000


def test_errors_that_go_together_within_a_user_do_not_roll_back() -> None:
    """20 correlated requests per sticky user: as a ratio over users at most 5% false roll-backs."""
    rng = np.random.default_rng(15)
    plan = plan_of(0.5, 0.25, unit="user", ratio=True)
    rolled = 0
    for _ in range(RUNS):
        errors = rng.binomial(20, rng.beta(0.2, 9.8, 2_000)).astype(float)
        arm = rng.random(2_000) < 0.5
        for seen in range(250, 2_001, 250):
            part, to = errors[:seen], arm[:seen]
            control, candidate = (
                PairMoments.of(values, np.full(values.size, 20.0))
                for values in (part[~to], part[to])
            )
            item = MetricEvidence(metric="m0", control=control, candidate=candidate)
            if decide(plan, evidence_of(0.5, (item,)), 0.0).action is Action.ROLL_BACK:
                rolled += 1
                break
    assert rolled / RUNS <= allowed(0.05)


def test_a_sound_split_is_rarely_called_broken_and_a_broken_one_is_found() -> None:
    """Level 0.1% over 200 looks; a 6% share planned as 5% is flagged within 22,000 units."""
    rng = np.random.default_rng(16)
    limit = math.log(1_000)
    for real, low, high in ((0.05, 0.0, allowed(0.001)), (0.06, 1 - allowed(0.01), 1.0)):
        flagged = 0
        for _ in range(RUNS):
            candidate = rng.binomial(110, real, 200).cumsum()
            total = 110 * np.arange(1, 201)
            flagged += any(
                log_e_sample_ratio([((int(n - x), int(x)), (0.95, 0.05))]) > limit
                for n, x in zip(total, candidate, strict=True)
            )
        assert low <= flagged / RUNS <= high


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_confidence_sequences_cover_at_every_look(share: float) -> None:
    """The true difference of means lies in all 21 intervals in at least 95% of runs."""
    rng = np.random.default_rng(17)
    missed = 0
    for _ in range(300):
        values, arm = rng.normal(5.0, 2.0, 8_000), rng.random(8_000) < share
        values = values + 0.3 * arm
        for seen in range(1_000, 8_001, 350):
            part, to = values[:seen], arm[:seen]
            arms = arms_of_means(Moments.of(part[~to]), Moments.of(part[to]))
            found = sequence_of(effect_of(*arms, "absolute"))
            if not found.lower <= 0.3 <= found.upper:
                missed += 1
                break
    assert missed / 300 <= allowed(0.05, 300)
