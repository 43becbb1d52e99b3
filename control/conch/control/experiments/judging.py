"""What follows for one experiment from what is known of it: a pure function.

Every treatment is compared with the control by `conch.ab.decide`. Proven harm of one ends the
experiment at once, and everybody gets the live version; so does the deadline. It also ends when
every treatment is decided. What cannot be believed, or is not known, concludes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from conch.ab import Action, DecisionRecord, Evidence, ReasonCode, ReleasePlan, record_of

from ..state import Experiment, Finding

NO_EVIDENCE: Final = "evidence-missing"
COMPARING: Final = "comparing"
PARTLY_DECIDED: Final = "partly-decided"


class Move(StrEnum):
    """What happens to an experiment."""

    STAY = "stay"
    HOLD = "hold"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One treatment beside the control.

    Attributes:
        build_id: The treatment.
        called: What people call it, at the beginning of a sentence.
        rule: What it is decided by.
        evidence: What was observed; None where that cannot be told.
        missing: Why it cannot, in words.
    """

    build_id: str
    called: str
    rule: ReleasePlan
    evidence: Evidence | None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentWorld:
    """Everything that concerns one running experiment, at one moment.

    Attributes:
        comparisons: One for each treatment.
        record_every_s: Seconds between two records of looks that change nothing.
        last: The newest finding.
    """

    now: datetime
    experiment: Experiment
    comparisons: tuple[Comparison, ...]
    record_every_s: float
    last: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What is to happen, and why.

    Attributes:
        code: Why, for machines.
        message: Why, in sentences.
        records: What each comparison was decided on, by treatment; empty where none could be.
        due: Whether it has to be written down, being new or the last record being old.
    """

    move: Move
    code: str
    message: str
    records: Mapping[str, DecisionRecord]
    due: bool = True


def judge(world: ExperimentWorld) -> Ruling:
    """Return what is to happen to a running experiment."""
    ruling = _judged(world)
    last = world.last
    if ruling.move is Move.END or last is None or last.code != ruling.code:
        return ruling
    if (world.now - last.created_at).total_seconds() >= world.record_every_s:
        return ruling
    return Ruling(
        move=ruling.move,
        code=ruling.code,
        message=ruling.message,
        records=ruling.records,
        due=False,
    )


def _judged(world: ExperimentWorld) -> Ruling:
    now_s = world.now.timestamp()
    records = {
        one.build_id: record_of(one.rule, one.evidence, now_s)
        for one in world.comparisons
        if one.evidence is not None
    }
    said = {one.build_id: _said(one, records.get(one.build_id)) for one in world.comparisons}

    def ruling(move: Move, code: str, about: list[str]) -> Ruling:
        return Ruling(
            move=move, code=code, message=" ".join(said[one] for one in about), records=records
        )

    harmed = [key for key in records if _has(records[key], ReasonCode.HARM_PROVEN)]
    if harmed:
        return ruling(Move.END, ReasonCode.HARM_PROVEN.value, harmed)
    blind = [one.build_id for one in world.comparisons if one.evidence is None]
    if blind:
        return ruling(Move.HOLD, NO_EVIDENCE, blind)
    if any(_has(record, ReasonCode.DEADLINE) for record in records.values()):
        return ruling(Move.END, ReasonCode.DEADLINE.value, list(records))
    unhealthy = [key for key in records if _has(records[key], ReasonCode.UNHEALTHY)]
    if unhealthy:
        return ruling(Move.HOLD, ReasonCode.UNHEALTHY.value, unhealthy)
    decided = [key for key in records if records[key].decision.action is Action.PROMOTE]
    if len(decided) == len(records):
        return ruling(Move.END, ReasonCode.GOAL_MET.value, decided)
    return ruling(Move.STAY, PARTLY_DECIDED if decided else COMPARING, list(records))


def _has(record: DecisionRecord, code: ReasonCode) -> bool:
    return any(reason.code is code for reason in record.decision.reasons)


def _said(one: Comparison, record: DecisionRecord | None) -> str:
    if record is None:
        return f"{one.called}: what was observed cannot be told: {one.missing}"
    texts = [reason.text.rstrip(".") for reason in record.decision.reasons]
    return f"{one.called}: {'; '.join(texts)}." if texts else f"{one.called}: nothing yet."
