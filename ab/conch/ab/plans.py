"""How a release is to be decided: steps, metrics, error level, deadlines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from conch.core import TOTAL_WEIGHT

from .errors import PlanError
from .metrics import Kind, Metric
from .sample_ratio import SRM_ALPHA


class GoalRule(StrEnum):
    """What goal metrics have to show before promotion."""

    NONE = "none"
    """Nothing; goals are reported."""

    NOT_WORSE = "not-worse"
    """Every goal is shown to be within its margin."""

    BETTER = "better"
    """Some goal is shown to be better, after Holm's correction over the goals, and none worse."""


class Fallback(StrEnum):
    """What happens when no conclusion is possible. Never promotion."""

    HOLD = "hold"
    """The split stays as it is until a person decides."""

    ROLL_BACK = "roll-back"
    """The candidate gets no more traffic."""


class Baseline(StrEnum):
    """Whom the candidate is compared with."""

    REST = "rest"
    """Everybody who does not get the candidate."""

    EQUAL_SHARE = "equal-share"
    """An arm of the present version that gets as much traffic as the candidate.

    A server with little traffic batches less, so its latency differs between identical versions;
    at equal shares it does not. Beyond one half the arm gets what the candidate leaves.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A period of constant split.

    Attributes:
        weight: Candidate's share in basis points, 1 to 9,999.
        minimum_s: Least time in this step, in seconds.
        minimum_units: Least candidate units assigned in this step.
    """

    weight: int
    minimum_s: float = 0.0
    minimum_units: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.weight < TOTAL_WEIGHT:
            raise PlanError(
                f"A step has the weight {self.weight}; it must lie in 1..{TOTAL_WEIGHT - 1}.",
                hint="Promotion is what gives the candidate everything; it is not a step.",
            )
        if self.minimum_s < 0 or self.minimum_units < 0:
            raise PlanError(f"The step of weight {self.weight} has a negative minimum.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePlan:
    """How a candidate's release is decided.

    Attributes:
        steps: Shares in order, rising.
        metrics: Guardrails (at least one), goals and diagnostics.
        assignment_unit: What traffic is assigned by, such as `request` or `user`.
        alpha: Error level: of a false roll-back over all guardrails and looks, and of a false
            promotion of a candidate that is worse than a margin.
        goal_rule: What goals have to show.
        minimum_runtime_s: Least time from the first step to promotion; guardrails do not wait.
            Give a full period, 86,400 s or a week where people's habits show.
        bake_s: How long the previous version stays loaded after promotion.
        deadline_s: Time from the first step after which `at_deadline` applies; None for never.
        at_deadline: What happens then without a conclusion.
        when_unhealthy: What happens when the experiment itself is broken (sample ratio, missing
            arm, old data).
        freshness_s: Oldest data cut that is still decided on.
        exposure_limit: Share of units that may meet both arms.
        srm_alpha: Level at which a sample-ratio mismatch is believed.
        baseline: Whom the candidate is compared with.
    """

    steps: tuple[Step, ...]
    metrics: tuple[Metric, ...]
    assignment_unit: str
    alpha: float = 0.05
    goal_rule: GoalRule = GoalRule.NONE
    minimum_runtime_s: float = 0.0
    bake_s: float = 3_600.0
    deadline_s: float | None = None
    at_deadline: Fallback = Fallback.HOLD
    when_unhealthy: Fallback = Fallback.HOLD
    freshness_s: float = 600.0
    exposure_limit: float = 0.01
    srm_alpha: float = SRM_ALPHA
    baseline: Baseline = Baseline.REST

    def __post_init__(self) -> None:
        weights = [step.weight for step in self.steps]
        if not weights or weights != sorted(set(weights)):
            raise PlanError(f"The steps' weights {weights} do not rise.")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise PlanError(f"Two metrics share a name: {names}.")
        if not self.of_kind(Kind.GUARDRAIL):
            raise PlanError(
                "The plan has no guardrail.",
                hint="A release without anything to lose by cannot be decided; name one.",
            )
        if self.goal_rule is not GoalRule.NONE and not self.of_kind(Kind.GOAL):
            raise PlanError(f"The goal rule is {self.goal_rule.value!r} but no metric is a goal.")
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.srm_alpha < 1.0):
            raise PlanError("Error levels lie between 0 and 1.")
        times = (self.minimum_runtime_s, self.bake_s, self.freshness_s, self.deadline_s or 0.0)
        if min(times) < 0:
            raise PlanError("A duration is negative.")

    def share_of(self, step: int) -> float:
        """Return the candidate's share among the units that a step compares."""
        weight = self.steps[step].weight
        return weight / (weight + self.control_weight_of(weight))

    def control_weight_of(self, weight: int) -> int:
        """Return the share of whom a candidate of this share is compared with, in basis points."""
        rest = TOTAL_WEIGHT - weight
        return min(weight, rest) if self.baseline is Baseline.EQUAL_SHARE else rest

    def of_kind(self, kind: Kind) -> tuple[Metric, ...]:
        """Return the metrics of one kind, in the plan's order."""
        return tuple(metric for metric in self.metrics if metric.kind is kind)
