"""A release plan as one value: what `conch.ab` decides by, and what the engine does around it.

The statistics know steps, metrics and error levels (`conch.ab.ReleasePlan`); a plan adds whether
shadow traffic comes first, where a person is asked, and how much of the traffic the former version
keeps after promotion, so that there is something to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from conch.ab import (
    EvidenceError,
    GoalRule,
    ReleasePlan,
    Step,
    as_json,
    digest_of,
    from_json,
)
from conch.core import TOTAL_WEIGHT, InvalidValueError

UNIT: Final = "unit"
"""What traffic is assigned by: the unit header's value, or the request where there is none."""


class PlanInvalidError(InvalidValueError):
    """A release plan has a field that is unknown, missing or out of range; the message names it."""

    code = "plan-invalid"


class Road(StrEnum):
    """How a plan's traffic moves."""

    STEPS = "steps"
    """Through rising shares."""

    FLIP = "flip"
    """All at once, after the preflight."""


class Gate(StrEnum):
    """Where a person is asked before the release goes on."""

    START = "start"
    PROMOTION = "promotion"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowGate:
    """What a candidate has to show on copies of requests before it answers any.

    Attributes:
        share: Share of requests that are copied, in basis points.
        minimum_requests: Compared pairs that are needed.
        least_agreement: Share of pairs whose answers have to agree, 0 to 1.
        most_failures: Share of pairs in which only the candidate may fail, 0 to 1.
        deadline_s: Seconds after which a person is asked if the gate has not been passed.
    """

    share: int
    minimum_requests: int
    least_agreement: float
    most_failures: float
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a release goes, from the preflight to the end of its bake time.

    Attributes:
        name: What people call it, such as `canary`.
        road: Through steps, or all at once.
        rule: What `conch.ab` decides by; its metrics say what is counted (`Metric.source`). For a
            flip its one step is the guard after the flip.
        holdback: What the former version keeps during the bake time, in basis points; 0: nothing,
            and then nothing is compared any more.
        shadow: The gate before the first real percent; None for none.
        approvals: Where a person is asked.
        patch_only: Whether the candidate must be the same graph with other weights.
        record_every_s: Seconds between two records of looks that change nothing.
    """

    name: str
    road: Road
    rule: ReleasePlan
    holdback: int
    shadow: ShadowGate | None = None
    approvals: tuple[Gate, ...] = ()
    patch_only: bool = False
    record_every_s: float = 60.0

    def __post_init__(self) -> None:
        if self.road is Road.FLIP and not self.holdback:
            raise PlanInvalidError(
                f"Plan {self.name!r}: with a `holdback` of 0 nothing is compared after the flip.",
                hint="Let the former version keep a share, such as 5 percent.",
            )
        if self.road is Road.STEPS and self.guard_weight <= self.last_weight:
            raise PlanInvalidError(
                f"Plan {self.name!r}: `holdback` leaves {self.guard_weight / 100:g} %, not more "
                f"than the last step's {self.last_weight / 100:g} %.",
                hint="Lower the holdback, or leave the last step out.",
            )

    @property
    def digest(self) -> str:
        """SHA-256 over the plan's canonical JSON."""
        return digest_of(self)

    @property
    def last_weight(self) -> int:
        """The share before promotion, in basis points."""
        return self.rule.steps[-1].weight

    @property
    def guard_weight(self) -> int:
        """The candidate's share during the bake time, in basis points."""
        return TOTAL_WEIGHT - self.holdback

    @property
    def guard_step(self) -> int:
        """The index that the bake time has among the stages."""
        return 0 if self.road is Road.FLIP else len(self.rule.steps)

    @property
    def guard(self) -> ReleasePlan:
        """What decides during the bake time: the same metrics and error level, one more step.

        Evidence goes on from the steps before, so that the error level holds over both together.
        """
        steps = self.rule.steps if self.road is Road.STEPS else ()
        last = Step(weight=self.guard_weight, minimum_s=self.rule.bake_s)
        return replace(
            self.rule,
            steps=(*steps, last),
            goal_rule=GoalRule.NONE,
            minimum_runtime_s=0.0,
            deadline_s=None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-compatible objects; `plan_of` reads it back."""
        found = as_json(self)
        assert isinstance(found, dict)
        return found


def plan_of(value: object) -> Plan:
    """Read what `Plan.as_dict` wrote.

    Raises:
        PlanInvalidError: It is not a plan, or that of another release of conch.
    """
    try:
        return from_json(Plan, value)
    except EvidenceError as error:
        raise PlanInvalidError(f"A stored plan cannot be read: {error.message}") from error
