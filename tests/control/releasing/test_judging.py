"""What follows for a planned release: a world in, a ruling out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabled_evidence import TabledEvidence

from conch.ab import Action, Claim
from conch.control.evidence import EvidenceQuestion, RampStage, ServedArm, ShadowSummary
from conch.control.plans import Plan, plan_from, presets
from conch.control.releasing import Move, ReleaseWorld, judge
from conch.control.state import RecordedDecision, Release, ReleaseStatus, Stage
from conch.core import Ordinal, SlotName, TritonName

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRESETS = presets(slo_ms=None)
CANARY = plan_from(
    {"plan": "canary", "step_minimum_s": 60, "deadline_s": 7200, "bake_s": 600}, presets=PRESETS
)
HOT = plan_from({"plan": "hot"}, presets=PRESETS)


def world(
    plan: Plan = CANARY,
    *,
    step: int = 0,
    status: ReleaseStatus = ReleaseStatus.RUNNING,
    lasted_s: float = 100.0,
    seen: TabledEvidence | None = None,
    unserved: str = "",
    shadow: ShadowSummary | None = None,
    last: RecordedDecision | None = None,
    **facts: Any,
) -> ReleaseWorld:
    """Return a world in a step that began a while ago, with what a table says was observed."""
    seen = seen or TabledEvidence()
    seen.now = NOW.timestamp()
    baking = status is ReleaseStatus.BAKING
    rule = plan.guard if baking else plan.rule
    stages = tuple(
        Stage(
            id=f"s{number}",
            release_id="r",
            number=number,
            step=number,
            weight=rule.steps[number].weight,
            created_at=NOW - timedelta(seconds=lasted_s + 100 * (step - number)),
        )
        for number in range(step + 1)
    )
    release = Release(
        id="r",
        deployment_id="d",
        candidate_build_id="b2",
        baseline_build_id="b1",
        status=status,
        weight=stages[-1].weight,
        salt="r",
        bake_s=600,
        created_by="me",
        plan=plan.as_dict(),
        plan_digest=plan.digest,
        created_at=NOW - timedelta(seconds=lasted_s + 1000),
        **facts,
    )
    evidence = None
    if not seen.away:
        asked = EvidenceQuestion(
            model=TritonName("digits"),
            release="r",
            plan=rule,
            stages=tuple(
                RampStage(
                    number=one.number,
                    step=one.step,
                    weight=one.weight,
                    started_s=one.created_at.timestamp(),
                )
                for one in stages
            ),
            candidate=ServedArm(build_id="b2", ordinal=Ordinal(2), slot=SlotName("b")),
            control=ServedArm(build_id="b1", ordinal=Ordinal(1), slot=SlotName("a")),
        )
        evidence = seen.gather(asked)
    return ReleaseWorld(
        now=NOW,
        release=release,
        plan=plan,
        stages=stages,
        evidence=evidence,
        missing=seen.away,
        unserved=unserved,
        shadow=shadow,
        last=last,
    )


def bad(rate: float = 0.05, units: int = 100_000) -> TabledEvidence:
    """Return evidence of a candidate that fails too often."""
    return TabledEvidence(units=units, candidate={"error-rate": rate})


BAKING = ReleaseStatus.BAKING
ROWS: list[tuple[str, ReleaseWorld, Move, str, int]] = [
    ("a step that lasted goes on", world(), Move.ADVANCE, "step-complete", 500),
    ("one that has not stays", world(lasted_s=30), Move.STAY, "more-time-needed", 100),
    ("too few units stay", world(seen=bad(0.01, 900)), Move.STAY, "more-units-needed", 100),
    ("proven harm rolls back", world(seen=bad()), Move.ROLL_BACK, "harm-proven", 0),
    ("in any step", world(step=2, seen=bad()), Move.ROLL_BACK, "harm-proven", 0),
    ("though paused", world(seen=bad(), paused=True), Move.ROLL_BACK, "harm-proven", 0),
    ("though unserved", world(seen=bad(), unserved="gone"), Move.ROLL_BACK, "harm-proven", 0),
    ("shown to be fine it is promoted", world(step=3), Move.BAKE, "not-worse-shown", 9500),
    ("paused it stays", world(paused=True), Move.HOLD, "paused", 100),
    ("unserved it stays", world(unserved="gone"), Move.HOLD, "not-served", 100),
    ("old data hold", world(seen=TabledEvidence(age_s=60)), Move.HOLD, "unhealthy", 100),
    (
        "data from the future hold",
        world(seen=TabledEvidence(age_s=-9)),
        Move.HOLD,
        "unhealthy",
        100,
    ),
    ("a broken ratio holds", world(seen=TabledEvidence(skew=2)), Move.HOLD, "unhealthy", 100),
    (
        "a broken ratio holds even with harm",
        world(step=1, seen=replace(bad(), skew=1.5)),
        Move.HOLD,
        "unhealthy",
        500,
    ),
    (
        "no evidence holds",
        world(seen=TabledEvidence(away="gone")),
        Move.HOLD,
        "evidence-missing",
        100,
    ),
    (
        "the deadline asks a person",
        world(step=3, lasted_s=9000, seen=bad(0.0112, 20_000)),
        Move.HOLD,
        "deadline-passed",
        5000,
    ),
    ("a flip is guarded", world(HOT, status=BAKING, seen=bad()), Move.ROLL_BACK, "harm-proven", 0),
    ("and bakes", world(HOT, status=BAKING), Move.STAY, "baking", 9500),
    ("to its end", world(HOT, status=BAKING, lasted_s=700), Move.FINISH, "baked", 10_000),
    (
        "never to more with a broken ratio",
        world(HOT, status=BAKING, lasted_s=700, seen=TabledEvidence(skew=1.05)),
        Move.HOLD,
        "unhealthy",
        9500,
    ),
    ("a canary bakes on", world(step=4, status=BAKING), Move.STAY, "baking", 9500),
    (
        "harm in it rolls back",
        world(step=4, status=BAKING, seen=bad()),
        Move.ROLL_BACK,
        "harm-proven",
        0,
    ),
    ("and ends", world(step=4, status=BAKING, lasted_s=700), Move.FINISH, "baked", 10_000),
]


@pytest.mark.parametrize(
    ("seen", "move", "code", "weight"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_what_follows(seen: ReleaseWorld, move: Move, code: str, weight: int) -> None:
    """Each world has one ruling, with a code for machines and words for people."""
    ruling = judge(seen)
    assert (ruling.move, ruling.code, ruling.weight) == (move, code, weight)
    assert ruling.message.endswith((".", "gone"))


@pytest.mark.parametrize(
    ("fallback", "seen", "move"),
    [
        (
            {"at_deadline": "roll-back"},
            world(step=3, lasted_s=9000, seen=bad(0.0112, 20_000)),
            Move.ROLL_BACK,
        ),
        ({"when_unhealthy": "roll-back"}, world(seen=TabledEvidence(age_s=60)), Move.ROLL_BACK),
        ({"when_unhealthy": "roll-back"}, world(seen=TabledEvidence(away="gone")), Move.ROLL_BACK),
        ({"approve": ["promotion"]}, world(step=3), Move.HOLD),
        ({"approve": ["promotion"]}, world(step=3, approved=("promotion",)), Move.BAKE),
        ({"holdback": 0}, world(step=3), Move.BAKE),
    ],
)
def test_the_plan_says_what_happens_in_doubt(
    fallback: dict[str, Any], seen: ReleaseWorld, move: Move
) -> None:
    """Deadlines, broken experiments and approvals go the way that the plan names."""
    body = {"plan": "canary", "step_minimum_s": 60, "deadline_s": 7200} | fallback
    ruling = judge(replace(seen, plan=plan_from(body, presets=PRESETS)))
    assert ruling.move is move


@pytest.mark.parametrize(
    ("pairs", "differ", "failed", "waited_s", "move", "code"),
    [
        (10, 0, 0, 10, Move.STAY, "shadow-open"),
        (10, 0, 0, 99_999, Move.HOLD, "shadow-open"),
        (500, 0, 0, 10, Move.ADVANCE, "shadow-passed"),
        (500, 50, 0, 10, Move.HOLD, "shadow-differs"),
        (500, 1, 1, 10, Move.HOLD, "shadow-differs"),
    ],
)
def test_copies_of_requests_are_a_gate(
    pairs: int, differ: int, failed: int, waited_s: float, move: Move, code: str
) -> None:
    """Enough pairs, alike enough, and no failure of the candidate's own: then the first percent."""
    plan = plan_from({"plan": "canary", "shadow": True}, presets=PRESETS)
    shadow = ShadowSummary(pairs=pairs, disagreements=differ, candidate_errors=failed)
    seen = world(plan, status=ReleaseStatus.SHADOWING, lasted_s=waited_s, shadow=shadow)
    ruling = judge(seen)
    assert (ruling.move, ruling.code) == (move, code)


def test_a_look_that_changes_nothing_is_recorded_now_and_then() -> None:
    """Written at first, then only when the last record is old, or the reason is another."""
    last = RecordedDecision(
        id="x",
        release_id="r",
        number=0,
        status=ReleaseStatus.RUNNING,
        action="stay",
        code="",
        message="",
        weight=100,
        created_at=NOW - timedelta(seconds=30),
    )
    quiet = world(lasted_s=30)
    assert judge(quiet).due
    assert not judge(replace(quiet, last=last)).due
    assert judge(replace(quiet, last=replace(last, created_at=NOW - timedelta(seconds=61)))).due
    assert judge(world(lasted_s=30, last=last, hold={"code": "unhealthy"})).due
    assert judge(world(paused=True, last=last)).due
    assert not judge(world(paused=True, last=last, hold={"code": "paused"})).due


@settings(max_examples=60, deadline=None)
@given(
    step=st.integers(0, 3),
    rate=st.floats(0.0, 0.2),
    skew=st.floats(0.5, 1.8),
    age_s=st.floats(-20.0, 100.0),
    units=st.integers(0, 300_000),
    baking=st.booleans(),
    lasted_s=st.floats(0.0, 9_000.0),
    paused=st.booleans(),
)
def test_the_share_never_rises_over_harm_or_a_broken_comparison(
    step: int,
    rate: float,
    skew: float,
    age_s: float,
    units: int,
    baking: bool,
    lasted_s: float,
    paused: bool,
) -> None:
    """Whatever was observed: more traffic only with every check passed and no harm proven."""
    seen = TabledEvidence(units=units, candidate={"error-rate": rate}, skew=skew, age_s=age_s)
    status = BAKING if baking else ReleaseStatus.RUNNING
    found = world(
        step=4 if baking else step, status=status, lasted_s=lasted_s, seen=seen, paused=paused
    )
    ruling = judge(found)
    assert ruling.record is not None
    decision = ruling.record.decision
    if ruling.weight > found.release.weight:
        assert all(check.passed for check in decision.checks)
        assert not any(result.shows(Claim.WORSE) for result in decision.results)
        assert not paused
    if decision.action is Action.ROLL_BACK:
        assert (ruling.move, ruling.weight) == (Move.ROLL_BACK, 0)
