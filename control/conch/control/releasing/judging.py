"""What follows for one release from what is known of it: a pure function.

The statistics decide about the evidence (`conch.ab.decide`); this decides about the release: what
its plan makes of that decision, whether a person has to be asked first, and whether both versions
can be served at all. In this order: proven harm rolls back, whoever paused what; whatever is broken
or unknown holds; a person's word is waited for; only then anything goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from conch.ab import (
    Action,
    Decision,
    DecisionRecord,
    Evidence,
    Fallback,
    Reason,
    ReasonCode,
    record_of,
)

from ..deploying.moving import WAITING
from ..deploying.releases import PAUSED
from ..evidence import ShadowSummary
from ..plans import Gate, Plan
from ..state import RecordedDecision, Release, ReleaseStatus, Stage

NO_EVIDENCE: Final = "evidence-missing"
NOT_SERVED: Final = "not-served"
SHADOW_DIFFERS: Final = "shadow-differs"
SHADOW_OPEN: Final = "shadow-open"


class Move(StrEnum):
    """What happens to a release."""

    STAY = "stay"
    HOLD = "hold"
    ADVANCE = "advance"
    BAKE = "promote"
    FINISH = "finish"
    ROLL_BACK = "roll-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseWorld:
    """Everything that concerns one release that goes by a plan, at one moment.

    Attributes:
        stages: Its stages so far, in order.
        evidence: What was observed; None where that cannot be told.
        missing: Why it cannot, in words; empty where it can.
        unserved: Why one of the versions cannot be served now; empty where both can.
        shadow: How the answers to copies of requests compared; None without any.
        last: The newest record of a look or a word.
    """

    now: datetime
    release: Release
    plan: Plan
    stages: tuple[Stage, ...]
    evidence: Evidence | None
    missing: str = ""
    unserved: str = ""
    shadow: ShadowSummary | None = None
    last: RecordedDecision | None = None

    @property
    def stage_s(self) -> float:
        """How long the stage in force has lasted, in seconds."""
        begun = self.stages[-1].created_at if self.stages else self.release.created_at
        return (self.now - begun).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What is to happen, and why.

    Attributes:
        step: The step that an advance leads to.
        weight: The candidate's share afterwards, in basis points.
        code: Why, for machines.
        message: Why, in sentences.
        record: What it was decided on; None where nothing had been observed.
        due: Whether it has to be written down, being new or the last record being old.
    """

    move: Move
    step: int | None = None
    weight: int
    code: str
    message: str
    record: DecisionRecord | None = None
    due: bool = True


def judge(world: ReleaseWorld) -> Ruling:
    """Return what is to happen to a release that has traffic, or copies of it."""
    ruling = _judged(world)
    return ruling if ruling.move in _MOVING else _thinned(world, ruling)


_MOVING: Final = (Move.ADVANCE, Move.BAKE, Move.FINISH, Move.ROLL_BACK)


def _judged(world: ReleaseWorld) -> Ruling:
    release, plan = world.release, world.plan
    if release.status is ReleaseStatus.SHADOWING:
        return _shadowing(world)
    baking = release.status is ReleaseStatus.BAKING
    if baking and not plan.holdback:
        return _after_bake(world, None)
    if world.evidence is None:
        return _blind(world)
    rule = plan.guard if baking else plan.rule
    record = record_of(rule, world.evidence, world.now.timestamp())
    decision = record.decision
    if decision.action is Action.ROLL_BACK:
        return _ruling(world, Move.ROLL_BACK, decision.reasons, record, weight=0)
    if decision.action is Action.HOLD:
        return _ruling(world, Move.HOLD, decision.reasons, record)
    if release.paused:
        return _held(world, PAUSED, "A person paused it.", record)
    if world.unserved:
        return _held(world, NOT_SERVED, world.unserved, record)
    if baking:
        return _after_bake(world, record)
    if decision.action is Action.ADVANCE:
        return _ruling(
            world,
            Move.ADVANCE,
            decision.reasons,
            record,
            step=decision.step,
            weight=decision.weight,
        )
    if decision.action is Action.PROMOTE:
        return _promotion(world, decision, record)
    return _ruling(world, Move.STAY, decision.reasons, record)


def _promotion(world: ReleaseWorld, decision: Decision, record: DecisionRecord) -> Ruling:
    release, plan = world.release, world.plan
    if Gate.PROMOTION in plan.approvals and Gate.PROMOTION not in release.approved:
        words = "Everything that the plan asks for is shown; a person has to approve the promotion."
        return _held(world, WAITING, words, record)
    return _ruling(world, Move.BAKE, decision.reasons, record, weight=plan.guard_weight)


def _after_bake(world: ReleaseWorld, record: DecisionRecord | None) -> Ruling:
    bake_s, lasted = world.plan.rule.bake_s, world.stage_s
    if lasted < bake_s:
        words = f"The bake time has lasted {lasted:.0f} of {bake_s:.0f} s without proven harm."
        return Ruling(
            move=Move.STAY,
            weight=world.release.weight,
            code="baking",
            message=words,
            record=record,
        )
    words = f"No guardrail was harmed in the bake time of {bake_s:.0f} s."
    if record is None:
        words = f"The bake time of {bake_s:.0f} s is over; without a holdback nothing was compared."
    return Ruling(move=Move.FINISH, weight=10_000, code="baked", message=words, record=record)


def _blind(world: ReleaseWorld) -> Ruling:
    words = f"What was observed cannot be told: {world.missing}"
    rule = world.plan.rule
    if rule.when_unhealthy is Fallback.ROLL_BACK and world.stage_s > rule.freshness_s:
        return Ruling(move=Move.ROLL_BACK, weight=0, code=NO_EVIDENCE, message=words)
    return _held(world, NO_EVIDENCE, words, None)


def _shadowing(world: ReleaseWorld) -> Ruling:
    gate, seen = world.plan.shadow, world.shadow
    assert gate is not None, "only a plan with a shadow gate shadows"
    pairs = 0 if seen is None else seen.pairs
    waited = (world.now - world.release.created_at).total_seconds()
    if seen is None or pairs < gate.minimum_requests:
        words = f"{pairs} of {gate.minimum_requests} copied requests are compared."
        if waited > gate.deadline_s:
            return _held(world, SHADOW_OPEN, words, None)
        return Ruling(move=Move.STAY, weight=0, code=SHADOW_OPEN, message=words)
    agreement = 1.0 - seen.disagreements / pairs
    failures = seen.candidate_errors / pairs
    told = (
        f"Of {pairs} copied requests {agreement:.2%} were answered alike (least "
        f"{gate.least_agreement:.2%}), and only the candidate failed in {failures:.2%} (at most "
        f"{gate.most_failures:.2%})."
    )
    if agreement < gate.least_agreement or failures > gate.most_failures:
        return _held(world, SHADOW_DIFFERS, told, None)
    if world.release.paused:
        return _held(world, PAUSED, "A person paused it.", None)
    if world.unserved:
        return _held(world, NOT_SERVED, world.unserved, None)
    first = world.plan.rule.steps[0]
    return Ruling(
        move=Move.ADVANCE, step=0, weight=first.weight, code="shadow-passed", message=told
    )


def _held(world: ReleaseWorld, code: str, message: str, record: DecisionRecord | None) -> Ruling:
    return Ruling(
        move=Move.HOLD, weight=world.release.weight, code=code, message=message, record=record
    )


def _ruling(
    world: ReleaseWorld,
    move: Move,
    reasons: tuple[Reason, ...],
    record: DecisionRecord,
    *,
    step: int | None = None,
    weight: int | None = None,
) -> Ruling:
    codes = [reason.code for reason in reasons]
    code = reasons[0].code.value if reasons else move.value
    if move is not Move.STAY and ReasonCode.DEADLINE in codes:
        code = ReasonCode.DEADLINE.value
    if move is Move.HOLD and ReasonCode.UNHEALTHY in codes:
        code = ReasonCode.UNHEALTHY.value
    return Ruling(
        move=move,
        step=step,
        weight=world.release.weight if weight is None else weight,
        code=code,
        message=" ".join(_sentence(reason.text) for reason in reasons),
        record=record,
    )


def _sentence(text: str) -> str:
    whole = text if text.endswith((".", "!", "?")) else f"{text}."
    return whole[0].upper() + whole[1:]


def _thinned(world: ReleaseWorld, ruling: Ruling) -> Ruling:
    """Mark a ruling that changes nothing, and was written down not long ago, as not due."""
    last, release = world.last, world.release
    held = None if release.hold is None else release.hold["code"]
    wanted = ruling.code if ruling.move is Move.HOLD else None
    if held != wanted or last is None:
        return ruling
    age_s = (world.now - last.created_at).total_seconds()
    if age_s >= world.plan.record_every_s:
        return ruling
    return Ruling(
        move=ruling.move,
        weight=ruling.weight,
        code=ruling.code,
        message=ruling.message,
        record=ruling.record,
        due=False,
    )
