"""Outcomes that come late, arms of equal share, and the read-out for people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conch.ab import (
    Action,
    Baseline,
    CannotComputeError,
    Counts,
    Direction,
    Evidence,
    EvidenceError,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    Moments,
    PairMoments,
    PlanError,
    ReleasePlan,
    StageEvidence,
    Step,
    analyse,
    decide,
    mature,
    posterior_of,
    read_out,
)
from conch.ab.bayesian import NormalPrior
from conch.ab.effects import arms_of_rates

SALES = Metric(
    name="sales",
    kind=Kind.GUARDRAIL,
    measure=Measure.EVENT_RATE,
    direction=Direction.HIGHER,
    unit="share of users",
    counted_per="user",
    source="events",
    margin=0.1,
    window_s=3_600.0,
)
PLAN = ReleasePlan(steps=(Step(weight=5_000),), metrics=(SALES,), assignment_unit="user")


def seen(control: Counts, candidate: Counts, *, pending: int = 0, share: float = 0.5) -> Evidence:
    """Return evidence of one stage."""
    item = MetricEvidence(
        metric="sales",
        control=control,
        candidate=candidate,
        control_pending=pending,
        candidate_pending=pending,
    )
    stage = StageEvidence(
        step=0,
        share=share,
        started_s=0.0,
        control_units=control.units + pending,
        candidate_units=candidate.units + pending,
        metrics=(item,),
    )
    return Evidence(stages=(stage,), cut_s=0.0)


def test_only_units_whose_window_has_closed_are_mature() -> None:
    """The cut is one moment for all units, at the end of each one's window."""
    assert mature([0.0, 9.9, 10.1], window_s=90.0, cut_s=100.0).tolist() == [True, True, False]
    assert not mature([0.0], window_s=1.0, cut_s=0.0).any()


def test_an_arm_that_reports_sooner_wins_nothing_by_it() -> None:
    """Outcomes as they come favour the faster arm by half; the maturity cut sees equal arms."""
    rng = np.random.default_rng(1)
    assigned = rng.uniform(0.0, 7_200.0, 40_000)
    arm = rng.random(40_000) < 0.5
    bought = rng.random(40_000) < 0.2
    delay = np.where(arm, 60.0, 3_000.0)  # the candidate's users answer within a minute
    come = bought & (assigned + delay <= 7_200.0)

    def evidence(counted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Evidence:
        return seen(
            *(
                Counts(
                    units=int((counted & (arm == to)).sum()),
                    events=int((come & counted & (arm == to)).sum()),
                )
                for to in (False, True)
            )
        )

    naive = analyse(SALES, evidence(assigned >= 0).stages, assignment_unit="user")
    closed = mature(assigned, window_s=3_600.0, cut_s=7_200.0)
    honest = analyse(SALES, evidence(closed).stages, assignment_unit="user")
    assert naive.estimate is not None
    assert naive.estimate > 0.25
    assert honest.estimate == pytest.approx(0.0, abs=0.06)


def test_pending_units_are_shown_and_are_no_missing_data() -> None:
    """Before any window closes the release waits, not held as broken; then it says the share."""
    waiting = decide(PLAN, seen(Counts(), Counts(), pending=5_000), 0.0)
    assert waiting.action is Action.INCONCLUSIVE
    assert "no unit's window has closed yet" in waiting.results[0].because
    some = Counts(units=1_000, events=200)
    assert decide(PLAN, seen(some, some, pending=1_000), 0.0).results[0].pending_share == 0.5
    silent = decide(PLAN, replace(seen(Counts(units=5_000), Counts())), 0.0)
    assert silent.action is Action.HOLD
    with pytest.raises(EvidenceError):
        replace(seen(some, some).latest.metrics[0], control_pending=-1)
    with pytest.raises(PlanError):
        replace(SALES, window_s=-1.0)


def test_an_equal_share_baseline_is_compared_at_one_half() -> None:
    """With a baseline arm as large as the candidate the planned share is 1/2, up to one half."""
    plan = replace(PLAN, steps=(Step(weight=100), Step(weight=500)), baseline=Baseline.EQUAL_SHARE)
    assert [plan.share_of(step) for step in (0, 1)] == [0.5, 0.5]
    some = Counts(units=1_000, events=200)
    assert decide(plan, seen(some, some), 0.0).action is Action.ADVANCE
    with pytest.raises(EvidenceError):
        decide(plan, seen(some, some, share=0.01), 0.0)
    beyond = replace(plan, steps=(Step(weight=5_000), Step(weight=9_000)))
    assert [beyond.share_of(step) for step in (0, 1)] == [0.5, 0.9]
    assert [beyond.control_weight_of(weight) for weight in (100, 5_000, 9_000)] == [
        100,
        5_000,
        1_000,
    ]


def test_the_read_out_of_one_stage_is_the_posterior_of_its_arms() -> None:
    """Against the closed form for one stage; two stages narrow it; a flat metric is no read-out."""
    control, candidate = Counts(units=4_000, events=400), Counts(units=4_000, events=500)
    evidence = seen(control, candidate)
    found = read_out(SALES, evidence.stages)
    assert found == posterior_of(*arms_of_rates(control, candidate), prior=NormalPrior())
    assert found.chance_to_win > 0.99
    later = replace(evidence.stages[0], step=1, started_s=1.0)
    assert read_out(SALES, (*evidence.stages, later)).sd < found.sd
    fewer = replace(SALES, direction=Direction.LOWER, window_s=0.0)
    assert read_out(fewer, evidence.stages).chance_to_win < 0.01
    with pytest.raises(CannotComputeError):
        read_out(SALES, seen(Counts(units=9, events=1), candidate).stages)
    with pytest.raises(CannotComputeError):
        read_out(replace(SALES, measure=Measure.QUANTILE, level=0.5), evidence.stages)


@pytest.mark.parametrize("measure", [Measure.MEAN, Measure.RATIO, Measure.ADJUSTED_MEAN])
def test_every_kind_of_mean_has_a_read_out(measure: Measure) -> None:
    """Means, ratios and adjusted means give a posterior around the relative change."""
    rng = np.random.default_rng(2)
    base = rng.gamma(5.0, 2.0, 4_000)

    def arm(part: slice, factor: float) -> Moments | PairMoments:
        values = factor * (base[part] + rng.normal(0.0, 0.5, 2_000))
        return Moments.of(values) if measure is Measure.MEAN else PairMoments.of(values, base[part])

    item = MetricEvidence(
        metric="sales", control=arm(slice(2_000), 1.0), candidate=arm(slice(2_000, None), 1.2)
    )
    stage = StageEvidence(
        step=0,
        share=0.5,
        started_s=0.0,
        control_units=2_000,
        candidate_units=2_000,
        metrics=(item,),
    )
    found = read_out(replace(SALES, measure=measure), [stage])
    assert found.mean == pytest.approx(0.2, abs=0.06)
    assert found.chance_to_win > 0.99
