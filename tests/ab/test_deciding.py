"""The release decision, case by case: evidence in, action and reasons out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conch.ab import (
    Action,
    Claim,
    Counts,
    Decision,
    DecisionRecord,
    Direction,
    Evidence,
    EvidenceError,
    Fallback,
    GoalRule,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    Moments,
    PairMoments,
    PlanError,
    ReasonCode,
    ReleasePlan,
    StageEvidence,
    Step,
    Verdict,
    as_json,
    canonical_json,
    decide,
    digest_of,
    from_json,
    record_of,
    replays,
)

ERRORS = Metric(
    name="errors",
    kind=Kind.GUARDRAIL,
    measure=Measure.EVENT_RATE,
    direction=Direction.LOWER,
    unit="share of requests",
    counted_per="request",
    source="gateway",
    margin=0.25,
)
SLOW = replace(ERRORS, name="slow", margin=0.2)
SALES = replace(ERRORS, name="sales", kind=Kind.GOAL, direction=Direction.HIGHER, margin=0.05)
PLAN = ReleasePlan(
    steps=(Step(weight=500, minimum_s=100, minimum_units=500), Step(weight=5_000)),
    metrics=(ERRORS, SLOW),
    assignment_unit="request",
    minimum_runtime_s=1_000,
    deadline_s=10_000,
)
ONE_STEP = replace(PLAN, steps=(Step(weight=500),), minimum_runtime_s=0)


def stage(
    candidate: int,
    *,
    step: int = 0,
    share: float = 0.05,
    started_s: float = 0.0,
    errors: float = 1.0,
    slow: float = 1.0,
    sales: float | None = None,
    control: int | None = None,
) -> StageEvidence:
    """Return a stage in which everything happens exactly as often as expected."""
    others = round(candidate * (1 - share) / share) if control is None else control

    def metric(name: str, rate: float, ratio: float) -> MetricEvidence:
        return MetricEvidence(
            metric=name,
            control=Counts(units=others, events=round(others * rate)),
            candidate=Counts(units=candidate, events=round(candidate * rate * ratio)),
        )

    metrics = [metric("errors", 0.01, errors), metric("slow", 0.05, slow)]
    if sales is not None:
        metrics.append(metric("sales", 0.1, sales))
    return StageEvidence(
        step=step,
        share=share,
        started_s=started_s,
        control_units=others,
        candidate_units=candidate,
        metrics=tuple(metrics),
    )


def seen(*stages: StageEvidence, cut_s: float = 2_000.0, both: int = 0) -> Evidence:
    """Return evidence."""
    return Evidence(stages=stages, cut_s=cut_s, exposed_to_both=both)


def codes(decision: Decision) -> set[ReasonCode]:
    """Return the codes of a decision's reasons."""
    return {reason.code for reason in decision.reasons}


def test_identical_versions_are_promoted_once_every_guardrail_is_shown_not_worse() -> None:
    """At the last step, with enough evidence, the candidate gets everything; the old one bakes."""
    decision = decide(ONE_STEP, seen(stage(20_000)), 2_000.0)
    assert decision.action is Action.PROMOTE
    assert (decision.weight, decision.step) == (10_000, None)
    assert decision.keep_previous_until_s == 2_000.0 + ONE_STEP.bake_s
    assert codes(decision) == {ReasonCode.NOT_WORSE_SHOWN}
    assert {item.verdict for item in decision.results} == {Verdict.NOT_WORSE}


def test_proven_harm_rolls_back_at_once_whatever_the_minimum_times() -> None:
    """Doubled errors roll back within the first step's minimum time."""
    decision = decide(PLAN, seen(stage(3_000, errors=2.0), cut_s=10.0), 20.0)
    assert decision.action is Action.ROLL_BACK
    assert (decision.weight, decision.step) == (0, None)
    assert [reason.about for reason in decision.reasons] == ["errors"]
    result = decision.result("errors")
    assert result is not None
    assert result.verdict is Verdict.HARMED
    assert result.lower is not None
    assert result.lower > 0


def test_better_versions_are_promoted_sooner() -> None:
    """30% fewer errors and slow answers are enough where equality is still open."""
    equal = decide(ONE_STEP, seen(stage(8_000)), 2_000.0)
    better = decide(ONE_STEP, seen(stage(8_000, errors=0.7, slow=0.7)), 2_000.0)
    assert (equal.action, better.action) == (Action.INCONCLUSIVE, Action.PROMOTE)
    assert codes(equal) == {ReasonCode.NOT_WORSE_OPEN}
    assert "inconclusive, because" in equal.reasons[0].text


@pytest.mark.parametrize(
    ("now_s", "candidate", "action", "code"),
    [
        (50.0, 600, Action.INCONCLUSIVE, ReasonCode.MORE_TIME),
        (150.0, 400, Action.INCONCLUSIVE, ReasonCode.MORE_UNITS),
        (150.0, 600, Action.ADVANCE, ReasonCode.STEP_COMPLETE),
    ],
    ids=["too-soon", "too-few", "enough"],
)
def test_a_step_gives_way_after_its_minimum_time_and_units(
    now_s: float, candidate: int, action: Action, code: ReasonCode
) -> None:
    """The weight rises only after both minima, and to the next step's weight."""
    decision = decide(PLAN, seen(stage(candidate), cut_s=now_s), now_s)
    assert decision.action is action
    assert codes(decision) == {code}
    assert decision.weight == (5_000 if action is Action.ADVANCE else 500)


def test_promotion_waits_for_the_last_step_and_the_least_runtime() -> None:
    """Enough evidence in the first step advances; in the last, before the runtime, it waits."""
    early = decide(PLAN, seen(stage(30_000)), 2_000.0)
    assert early.action is Action.ADVANCE
    second = stage(5_000, step=1, share=0.5, started_s=300.0)
    waiting = decide(PLAN, seen(stage(30_000), second, cut_s=900.0), 900.0)
    assert waiting.action is Action.INCONCLUSIVE
    assert codes(waiting) == {ReasonCode.MORE_TIME}
    done = decide(PLAN, seen(stage(30_000), second, cut_s=1_100.0), 1_100.0)
    assert done.action is Action.PROMOTE


BROKEN = {
    "sample-ratio": (seen(stage(6_000, control=94_000)), 2_000.0),
    "data-freshness": (seen(stage(20_000), cut_s=100.0), 2_000.0),
    "double-exposure": (seen(stage(20_000), both=4_000), 2_000.0),
    "arms-present": (seen(stage(0, control=600)), 2_000.0),
    "metrics-present": (seen(replace(stage(20_000), metrics=stage(20_000).metrics[:1])), 2_000.0),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_experiment_holds(name: str) -> None:
    """What would otherwise be promoted is held, and the check that failed is named."""
    evidence, now_s = BROKEN[name]
    decision = decide(ONE_STEP, evidence, now_s)
    assert decision.action is Action.HOLD
    assert decision.weight == 500
    assert name in {reason.about for reason in decision.reasons}
    strict = decide(replace(ONE_STEP, when_unhealthy=Fallback.ROLL_BACK), evidence, now_s)
    assert strict.action is Action.ROLL_BACK


def test_a_data_cut_in_the_future_is_not_fresh() -> None:
    """Clocks that disagree are told, not averaged away."""
    decision = decide(ONE_STEP, seen(stage(20_000), cut_s=2_001.0), 2_000.0)
    assert decision.action is Action.HOLD
    assert "clocks disagree" in decision.reasons[0].text


@pytest.mark.parametrize(
    ("fallback", "action"),
    [(Fallback.HOLD, Action.HOLD), (Fallback.ROLL_BACK, Action.ROLL_BACK)],
)
def test_past_the_deadline_nothing_is_promoted_without_evidence(
    fallback: Fallback, action: Action
) -> None:
    """Without a conclusion the plan's fallback applies, and what was missing is told."""
    plan = replace(ONE_STEP, at_deadline=fallback)
    decision = decide(plan, seen(stage(2_000), cut_s=10_000.0), 10_000.0)
    assert decision.action is action
    assert {ReasonCode.DEADLINE, ReasonCode.NOT_WORSE_OPEN} == codes(decision)


def test_goals_must_be_better_where_the_plan_asks_for_it() -> None:
    """A goal that is equal blocks a `better` rule, one that improves meets it."""
    plan = replace(ONE_STEP, metrics=(ERRORS, SLOW, SALES), goal_rule=GoalRule.BETTER)
    same = decide(plan, seen(stage(20_000, sales=1.0)), 2_000.0)
    assert same.action is Action.INCONCLUSIVE
    assert codes(same) == {ReasonCode.GOAL_OPEN}
    more = decide(plan, seen(stage(20_000, sales=1.15)), 2_000.0)
    assert more.action is Action.PROMOTE
    assert ReasonCode.GOAL_MET in codes(more)
    kept = replace(plan, goal_rule=GoalRule.NOT_WORSE)
    assert decide(kept, seen(stage(60_000, sales=1.0)), 2_000.0).action is Action.PROMOTE


def test_a_guardrail_whose_events_are_good_is_harmed_by_fewer_of_them() -> None:
    """Where higher is better, 20% fewer events are harm and 20% more are better."""
    answered = replace(SALES, kind=Kind.GUARDRAIL)
    plan = replace(ONE_STEP, metrics=(ERRORS, SLOW, answered))
    fewer = decide(plan, seen(stage(20_000, sales=0.8)), 2_000.0)
    assert fewer.action is Action.ROLL_BACK
    assert [reason.about for reason in fewer.reasons] == ["sales"]
    more = decide(plan, seen(stage(20_000, sales=1.2)), 2_000.0)
    assert more.action is Action.PROMOTE
    result = more.result("sales")
    assert result is not None
    assert result.verdict is Verdict.BETTER


def test_small_harm_may_be_tolerated_when_the_plan_says_so() -> None:
    """15% more errors, proven, roll back; with `harm_beyond` of 20% they are promoted in time."""
    evidence = seen(stage(400_000, errors=1.15))
    assert decide(ONE_STEP, evidence, 2_000.0).action is Action.ROLL_BACK
    tolerant = replace(ONE_STEP, metrics=(replace(ERRORS, harm_beyond=0.2), SLOW))
    assert decide(tolerant, evidence, 2_000.0).action is Action.PROMOTE


def test_counting_requests_where_users_are_assigned_is_refused() -> None:
    """A rate per request under assignment per user is inconclusive and says why."""
    decision = decide(replace(ONE_STEP, assignment_unit="user"), seen(stage(20_000)), 2_000.0)
    assert decision.action is Action.INCONCLUSIVE
    result = decision.result("errors")
    assert result is not None
    assert (result.estimate, result.claims) == (None, ())
    assert "counted per request while traffic is assigned per user" in result.because


def test_few_units_give_no_numbers_for_a_mean() -> None:
    """Below the least number of units a mean is inconclusive, with no estimate and no interval."""
    metric = replace(ERRORS, name="latency", measure=Measure.MEAN, unit="ms")
    rng = np.random.default_rng(3)
    for size, known in ((50, False), (5_000, True)):
        item = MetricEvidence(
            metric="latency",
            control=Moments.of(rng.normal(100, 10, size * 19)),
            candidate=Moments.of(rng.normal(100, 10, size)),
        )
        evidence = seen(
            StageEvidence(
                step=0,
                share=0.05,
                started_s=0,
                control_units=size * 19,
                candidate_units=size,
                metrics=(item,),
            )
        )
        decision = decide(replace(ONE_STEP, metrics=(metric,)), evidence, 2_000.0)
        result = decision.results[0]
        assert (result.estimate is not None) is known
        assert decision.action is (Action.PROMOTE if known else Action.INCONCLUSIVE)


def test_a_ratio_and_an_adjusted_mean_are_judged_over_the_assignment_unit() -> None:
    """Both kinds of pair statistics find a 20% worsening and pass an equal candidate."""
    rng = np.random.default_rng(4)

    def pair(size: int, factor: float, adjusted: bool) -> PairMoments:
        base = rng.gamma(5.0, 2.0, size)
        if adjusted:
            return PairMoments.of(factor * (base + rng.normal(0, 1, size)), base)
        return PairMoments.of(rng.poisson(base * 0.2 * factor), base)

    for measure in (Measure.RATIO, Measure.ADJUSTED_MEAN):
        metric = replace(ERRORS, measure=measure, counted_per="user", margin=0.1)
        plan = replace(ONE_STEP, metrics=(metric,), assignment_unit="user")
        for factor, action in ((1.0, Action.PROMOTE), (1.2, Action.ROLL_BACK)):
            item = MetricEvidence(
                metric="errors",
                control=pair(19_000, 1.0, measure is Measure.ADJUSTED_MEAN),
                candidate=pair(19_000, factor, measure is Measure.ADJUSTED_MEAN),
            )
            found = StageEvidence(
                step=0,
                share=0.5,
                started_s=0,
                control_units=19_000,
                candidate_units=19_000,
                metrics=(item,),
            )
            half = replace(plan, steps=(Step(weight=5_000),))
            assert decide(half, seen(found), 2_000.0).action is action


def test_a_drifting_baseline_is_not_taken_for_an_effect() -> None:
    """Equal versions under a baseline that triples over the ramp: nothing is proven."""
    steps = tuple(Step(weight=weight) for weight in (100, 1_000, 5_000))
    stages = []
    for step, (share, rate) in enumerate(((0.01, 0.01), (0.1, 0.02), (0.5, 0.03))):
        candidate = round(40_000 * share)
        item = MetricEvidence(
            metric="errors",
            control=Counts(units=40_000 - candidate, events=round((40_000 - candidate) * rate)),
            candidate=Counts(units=candidate, events=round(candidate * rate)),
        )
        stages.append(
            StageEvidence(
                step=step,
                share=share,
                started_s=float(step),
                control_units=40_000 - candidate,
                candidate_units=candidate,
                metrics=(item,),
            )
        )
    plan = replace(ONE_STEP, steps=steps, metrics=(ERRORS,))
    result = decide(plan, seen(*stages), 2_000.0).results[0]
    assert result.estimate == pytest.approx(0.0, abs=0.01)
    assert not result.shows(Claim.WORSE)
    pooled_candidate = sum(item.metrics[0].candidate.n for item in stages)
    events = [item.metrics[0] for item in stages]
    pooled = sum(e.candidate.events for e in events if isinstance(e.candidate, Counts))
    rest = sum(e.control.events for e in events if isinstance(e.control, Counts))
    naive = (pooled / pooled_candidate) / (rest / (120_000 - pooled_candidate))
    assert naive > 1.5  # what pooling would have reported


@given(
    st.integers(0, 30_000),
    st.floats(0.5, 3.0),
    st.floats(0.5, 3.0),
    st.floats(0.0, 20_000.0),
    st.floats(0.0, 2_000.0),
)
@settings(max_examples=60, deadline=None)
def test_decisions_replay_to_the_last_bit_and_survive_json(
    candidate: int, errors: float, slow: float, now_s: float, age_s: float
) -> None:
    """A record read back from JSON is equal and replays to the same decision."""
    evidence = seen(stage(candidate, errors=errors, slow=slow), cut_s=now_s - age_s)
    record = record_of(PLAN, evidence, now_s)
    assert replays(record)
    again = from_json(DecisionRecord, as_json(record))
    assert again == record
    assert digest_of(again) == digest_of(record)
    assert replays(again)


def test_a_changed_record_does_not_replay() -> None:
    """Replaying finds out that somebody changed the decision."""
    record = record_of(ONE_STEP, seen(stage(20_000)), 2_000.0)
    forged = replace(record, decision=replace(record.decision, weight=9_999))
    assert not replays(forged)
    assert canonical_json(record) != canonical_json(forged)


@given(st.integers(200, 20_000), st.floats(0.3, 4.0), st.integers(0, 3_000))
@settings(max_examples=60, deadline=None)
def test_the_weight_never_rises_over_harm_or_a_broken_split(
    candidate: int, errors: float, extra: int
) -> None:
    """Whatever the evidence: raising needs sound assignment and no proven harm."""
    found = replace(stage(candidate, errors=errors), candidate_units=candidate + extra)
    decision = decide(PLAN, seen(found), 2_000.0)
    if decision.weight > 500:
        assert all(check.passed for check in decision.checks)
        assert not any(item.shows(Claim.WORSE) for item in decision.results)


def test_evidence_that_does_not_belong_to_the_plan_is_refused() -> None:
    """Another share, an unknown metric, steps that go backwards, mixed classes: errors."""
    with pytest.raises(EvidenceError):
        decide(ONE_STEP, seen(stage(100, share=0.1)), 2_000.0)
    with pytest.raises(EvidenceError):
        decide(replace(ONE_STEP, metrics=(ERRORS,)), seen(stage(100)), 2_000.0)
    with pytest.raises(EvidenceError):
        decide(PLAN, seen(stage(100, step=1, share=0.5), stage(100)), 2_000.0)
    with pytest.raises(EvidenceError):
        MetricEvidence(metric="errors", control=Counts(), candidate=Moments())
    with pytest.raises(EvidenceError):
        from_json(ReleasePlan, {"steps": [], "surprise": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"steps": ()},
        {"steps": (Step(weight=500), Step(weight=500))},
        {"metrics": (SALES,)},
        {"metrics": (ERRORS, ERRORS)},
        {"goal_rule": GoalRule.BETTER},
        {"alpha": 1.5},
        {"freshness_s": -1.0},
    ],
    ids=["no-steps", "flat", "no-guardrail", "twice", "no-goal", "alpha", "negative"],
)
def test_plans_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    """A plan is checked when it is made."""
    with pytest.raises(PlanError):
        replace(PLAN, **change)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("events", "tolerated", "promoted"),
    [(0, 0.0, False), (0, 0.002, True), (1, 0.002, True), (20, 0.002, False)],
)
def test_two_versions_that_never_fail_are_promoted_below_the_tolerated_share(
    events: int, tolerated: float, promoted: bool
) -> None:
    """A ratio needs events; a tolerated share is shown by units that have none."""
    metric = replace(ERRORS, tolerated=tolerated)
    plan = replace(ONE_STEP, metrics=(metric,))
    counts = MetricEvidence(
        metric="errors",
        control=Counts(units=95_000, events=19 * events),
        candidate=Counts(units=5_000, events=events),
    )
    seen = StageEvidence(
        step=0,
        share=0.05,
        started_s=0.0,
        control_units=95_000,
        candidate_units=5_000,
        metrics=(counts,),
    )
    decision = decide(plan, Evidence(stages=(seen,), cut_s=100.0), 100.0)
    assert (decision.action is Action.PROMOTE) == promoted


def test_only_a_share_that_should_be_low_has_a_tolerated_one() -> None:
    """A tolerated share of what should be high, or of a mean, means nothing."""
    for change in ({"direction": Direction.HIGHER}, {"measure": Measure.MEAN}, {"tolerated": 1.0}):
        with pytest.raises(PlanError, match="tolerated"):
            replace(ERRORS, **({"tolerated": 0.1} | change))
