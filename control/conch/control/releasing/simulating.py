"""What another plan would have decided on the data of a release that was recorded.

The recorded looks are taken again, in order, with the other plan's metrics, margins, error level
and minimums. The shares stay those that were really in force: what would have been observed under
other shares nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from conch.ab import (
    Action,
    DecisionRecord,
    Evidence,
    GoalRule,
    ReleasePlan,
    Step,
    decide,
    replays,
)
from conch.core import ConflictError

from ..plans import Plan


class NothingRecordedError(ConflictError):
    """A release has no recorded look at evidence that a plan could be tried on."""

    code = "nothing-recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLook:
    """One recorded look, taken with the other plan.

    Attributes:
        at_s: When it was taken, in seconds since the Unix epoch.
        candidate_units: Units of the candidate by then, all stages.
        recorded: What was decided then.
        action: What the other plan decides.
        message: Why.
    """

    at_s: float
    candidate_units: int
    recorded: str
    action: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What another plan makes of a recorded release.

    Attributes:
        looks: Every look up to the one that ends it.
        outcome: `promote`, `roll-back`, or `open` where the data end first.
        unknown: The plan's metrics that were not recorded, and so show nothing.
    """

    looks: tuple[SimulatedLook, ...]
    outcome: str
    unknown: tuple[str, ...]


def simulate(plan: Plan, records: Sequence[DecisionRecord]) -> Simulation:
    """Take the recorded looks again with another plan.

    Args:
        plan: The other plan.
        records: The looks, the oldest first.

    Raises:
        NothingRecordedError: There is none.
    """
    if not records:
        raise NothingRecordedError(
            "Nothing was recorded that a plan could be tried on.",
            hint="Wait for the release's first look at its evidence.",
        )
    wanted = {metric.name for metric in plan.rule.metrics}
    looks, outcome, seen = [], "open", set()
    for record in records:
        evidence = _kept(record.evidence, wanted)
        seen |= {item.metric for stage in evidence.stages for item in stage.metrics}
        baking = record.plan.goal_rule is GoalRule.NONE and _bakes(record)
        decision = decide(_fitted(plan, record, baking=baking), evidence, record.now_s)
        looks.append(
            SimulatedLook(
                at_s=record.now_s,
                candidate_units=sum(stage.candidate_units for stage in evidence.stages),
                recorded=record.decision.action.value,
                action=decision.action.value,
                message=" ".join(reason.text for reason in decision.reasons),
            )
        )
        if decision.action is Action.ROLL_BACK or (
            decision.action is Action.PROMOTE and not baking
        ):
            outcome = decision.action.value
            break
    return Simulation(looks=tuple(looks), outcome=outcome, unknown=tuple(sorted(wanted - seen)))


def differing(records: Sequence[tuple[int, DecisionRecord]]) -> tuple[int, ...]:
    """Return the numbers of the records that do not come out the same when taken again."""
    return tuple(number for number, record in records if not replays(record))


def _kept(evidence: Evidence, wanted: set[str]) -> Evidence:
    return replace(
        evidence,
        stages=tuple(
            replace(stage, metrics=tuple(item for item in stage.metrics if item.metric in wanted))
            for stage in evidence.stages
        ),
    )


def _bakes(record: DecisionRecord) -> bool:
    """Whether a look was taken during the bake time: the last step is the guard."""
    last = record.plan.steps[-1]
    return (
        record.evidence.latest.step == len(record.plan.steps) - 1
        and last.minimum_s == record.plan.bake_s
        and record.plan.deadline_s is None
    )


def _fitted(plan: Plan, record: DecisionRecord, *, baking: bool) -> ReleasePlan:
    """Return the plan's rule over the steps that were really taken."""
    rule, own = plan.rule, plan.rule.steps
    steps = []
    for number, taken in enumerate(record.plan.steps):
        like = own[min(number, len(own) - 1)]
        steps.append(
            Step(
                weight=taken.weight,
                minimum_s=like.minimum_s,
                minimum_units=like.minimum_units,
            )
        )
    if baking:
        rule = replace(rule, goal_rule=GoalRule.NONE, minimum_runtime_s=0.0, deadline_s=None)
    return replace(rule, steps=tuple(steps))
