"""The release decision: a pure function of plan, evidence and time.

In this order: a broken experiment decides nothing (hold, or roll back if the plan says so); proven
harm of a guardrail rolls back; what is shown to be not worse on every guardrail, and meets the
goal rule, is promoted from the last step; past the deadline the plan's fallback applies; a step
that has lasted long enough without proven harm gives way to the next; everything else is
inconclusive, with what is missing.

Error levels hold however often and whenever the decision is taken: a roll-back of a candidate no
worse than the control has probability at most alpha over all guardrails and looks, and so has the
promotion of a candidate that is worse than the margin of some guardrail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from conch.core import TOTAL_WEIGHT

from .analysing import analyse
from .errors import EvidenceError
from .evidence import Evidence
from .health import Check, checks_of
from .metrics import Kind
from .multiplicity import Correction, adjusted
from .plans import Fallback, GoalRule, ReleasePlan, Step
from .results import Claim, MetricResult

DECISION_METHOD: Final = "conch.ab.decide/1"
"""Version of the rule; a record replays only under the version that made it."""

_SHARE_TOLERANCE: Final = 1e-9


class Action(StrEnum):
    """What is to happen."""

    ROLL_BACK = "roll-back"
    HOLD = "hold"
    INCONCLUSIVE = "inconclusive"
    """The split stays; deciding goes on as evidence arrives."""

    ADVANCE = "advance"
    PROMOTE = "promote"


class ReasonCode(StrEnum):
    """Why, for machines."""

    UNHEALTHY = "unhealthy"
    HARM_PROVEN = "harm-proven"
    NOT_WORSE_SHOWN = "not-worse-shown"
    NOT_WORSE_OPEN = "not-worse-not-shown-yet"
    GOAL_MET = "goal-met"
    GOAL_OPEN = "goal-not-met-yet"
    MORE_TIME = "more-time-needed"
    MORE_UNITS = "more-units-needed"
    STEP_COMPLETE = "step-complete"
    DEADLINE = "deadline-passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason.

    Attributes:
        code: For machines.
        text: For people, one sentence.
        about: The metric or check that it concerns; empty for the release as a whole.
    """

    code: ReasonCode
    text: str
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to happen to a release, and why.

    Attributes:
        action: What is to happen.
        weight: Candidate's share to be set, in basis points.
        step: Index of the plan's step that `weight` belongs to; None for 0 and for everything.
        reasons: Why, the deciding ones first.
        checks: Every health check.
        results: Every metric's result.
        keep_previous_until_s: Until when the previous version stays loaded; set on promotion.
        now_s: When the decision was taken, in seconds since the Unix epoch.
        cut_s: Up to when its data were complete.
        method: Version of the rule.
    """

    action: Action
    weight: int
    step: int | None
    reasons: tuple[Reason, ...]
    checks: tuple[Check, ...]
    results: tuple[MetricResult, ...]
    keep_previous_until_s: float | None
    now_s: float
    cut_s: float
    method: str = DECISION_METHOD

    def result(self, metric: str) -> MetricResult | None:
        """Return one metric's result."""
        return next((item for item in self.results if item.metric == metric), None)


def decide(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Decision:
    """Return what is to happen to a release.

    Pure: the same arguments give the same decision, to the last bit.

    Args:
        plan: How the release is decided.
        evidence: What has been observed.
        now_s: The present, in seconds since the Unix epoch.

    Raises:
        EvidenceError: The evidence does not belong to the plan.
    """
    _require_fit(plan, evidence)
    checks = checks_of(plan, evidence, now_s)
    family = len(plan.of_kind(Kind.GUARDRAIL))
    results = tuple(
        analyse(
            metric,
            evidence.stages,
            assignment_unit=plan.assignment_unit,
            alpha=plan.alpha,
            family=family,
        )
        for metric in plan.metrics
    )
    action, reasons = _choose(plan, evidence, now_s, checks, results)
    step = evidence.latest.step
    weight = plan.steps[step].weight
    kept: int | None = step
    if action is Action.ADVANCE:
        kept, weight = step + 1, plan.steps[step + 1].weight
    elif action is Action.PROMOTE:
        kept, weight = None, TOTAL_WEIGHT
    elif action is Action.ROLL_BACK:
        kept, weight = None, 0
    return Decision(
        action=action,
        weight=weight,
        step=kept,
        reasons=tuple(reasons),
        checks=checks,
        results=results,
        keep_previous_until_s=now_s + plan.bake_s if action is Action.PROMOTE else None,
        now_s=now_s,
        cut_s=evidence.cut_s,
    )


def _choose(
    plan: ReleasePlan,
    evidence: Evidence,
    now_s: float,
    checks: Sequence[Check],
    results: Sequence[MetricResult],
) -> tuple[Action, list[Reason]]:
    overdue = _deadline_reasons(plan, evidence, now_s)
    broken = [
        Reason(code=ReasonCode.UNHEALTHY, text=f"{check.name}: {check.because}.", about=check.name)
        for check in checks
        if not check.passed
    ]
    if broken:
        fallback = plan.when_unhealthy
        if overdue and plan.at_deadline is Fallback.ROLL_BACK:
            fallback = Fallback.ROLL_BACK
        return _action_of(fallback), broken + overdue
    guardrails = [item for item in results if item.kind is Kind.GUARDRAIL]
    harmed = [
        Reason(
            code=ReasonCode.HARM_PROVEN, text=f"{item.metric}: {item.because}", about=item.metric
        )
        for item in guardrails
        if item.shows(Claim.WORSE)
    ]
    if harmed:
        return Action.ROLL_BACK, harmed
    shown, open_guardrails = _guardrail_reasons(guardrails)
    goal_met, goal_reasons = _goal_reasons(plan, results)
    step_open = _step_reasons(plan.steps[evidence.latest.step], evidence, now_s)
    runtime_open = _runtime_reasons(plan, evidence, now_s)
    last = evidence.latest.step == len(plan.steps) - 1
    missing = open_guardrails + ([] if goal_met else goal_reasons) + step_open + runtime_open
    if last and not missing:
        return Action.PROMOTE, shown + goal_reasons
    if overdue:
        return _action_of(plan.at_deadline), overdue + missing
    if not last and not step_open:
        weight = plan.steps[evidence.latest.step].weight
        text = f"the step at {weight / 100:g}% lasted long enough and no guardrail is harmed."
        return Action.ADVANCE, [Reason(code=ReasonCode.STEP_COMPLETE, text=text)]
    return Action.INCONCLUSIVE, missing if last else step_open


def _guardrail_reasons(
    guardrails: Sequence[MetricResult],
) -> tuple[list[Reason], list[Reason]]:
    shown, still_open = [], []
    for item in guardrails:
        claim = item.claim(Claim.NOT_WORSE)
        if claim is not None and claim.established:
            shown.append(
                Reason(
                    code=ReasonCode.NOT_WORSE_SHOWN,
                    text=f"{item.metric}: {claim.describe()}.",
                    about=item.metric,
                )
            )
        else:
            still_open.append(
                Reason(
                    code=ReasonCode.NOT_WORSE_OPEN,
                    text=f"{item.metric}: {item.because}",
                    about=item.metric,
                )
            )
    return shown, still_open


def _goal_reasons(plan: ReleasePlan, results: Sequence[MetricResult]) -> tuple[bool, list[Reason]]:
    goals = [item for item in results if item.kind is Kind.GOAL]
    if plan.goal_rule is GoalRule.NONE:
        return True, []
    if plan.goal_rule is GoalRule.NOT_WORSE:
        late = [item for item in goals if not item.shows(Claim.NOT_WORSE)]
        met = not late
        told = late or goals
    else:
        p_values = [_p_better(item) for item in goals]
        kept = adjusted(p_values, Correction.HOLM)
        winners = [item for item, p in zip(goals, kept, strict=True) if p < plan.alpha]
        losers = [item for item in goals if item.shows(Claim.WORSE)]
        met = bool(winners) and not losers
        told = winners if met else losers or goals
    code = ReasonCode.GOAL_MET if met else ReasonCode.GOAL_OPEN
    return met, [
        Reason(code=code, text=f"{item.metric}: {item.because}", about=item.metric) for item in told
    ]


def _p_better(item: MetricResult) -> float:
    claim = item.claim(Claim.BETTER)
    return math.exp(min(0.0, -claim.log_e)) if claim is not None else 1.0


def _step_reasons(step: Step, evidence: Evidence, now_s: float) -> list[Reason]:
    latest, reasons = evidence.latest, []
    elapsed = now_s - latest.started_s
    if elapsed < step.minimum_s:
        text = f"this step has lasted {elapsed:.0f} of at least {step.minimum_s:.0f} s."
        reasons.append(Reason(code=ReasonCode.MORE_TIME, text=text))
    if latest.candidate_units < step.minimum_units:
        text = (
            f"the candidate has {latest.candidate_units} of at least "
            f"{step.minimum_units} units in this step."
        )
        reasons.append(Reason(code=ReasonCode.MORE_UNITS, text=text))
    return reasons


def _runtime_reasons(plan: ReleasePlan, evidence: Evidence, now_s: float) -> list[Reason]:
    elapsed = now_s - evidence.stages[0].started_s
    if elapsed >= plan.minimum_runtime_s:
        return []
    text = f"the release has run {elapsed:.0f} of at least {plan.minimum_runtime_s:.0f} s."
    return [Reason(code=ReasonCode.MORE_TIME, text=text)]


def _deadline_reasons(plan: ReleasePlan, evidence: Evidence, now_s: float) -> list[Reason]:
    elapsed = now_s - evidence.stages[0].started_s
    if plan.deadline_s is None or elapsed < plan.deadline_s:
        return []
    text = f"no conclusion after {elapsed:.0f} s; the deadline was {plan.deadline_s:.0f} s."
    return [Reason(code=ReasonCode.DEADLINE, text=text)]


def _action_of(fallback: Fallback) -> Action:
    return Action.HOLD if fallback is Fallback.HOLD else Action.ROLL_BACK


def _require_fit(plan: ReleasePlan, evidence: Evidence) -> None:
    known = {metric.name for metric in plan.metrics}
    previous = -1
    for stage in evidence.stages:
        if stage.step >= len(plan.steps) or stage.step < previous:
            raise EvidenceError(
                f"A stage belongs to step {stage.step} of a plan with {len(plan.steps)} steps, "
                "or steps go backwards."
            )
        previous = stage.step
        if abs(stage.share - plan.share_of(stage.step)) > _SHARE_TOLERANCE:
            raise EvidenceError(
                f"Stage {stage.step} has the share {stage.share}, its step "
                f"{plan.share_of(stage.step)}.",
                hint="A changed plan starts a new release.",
            )
        if unknown := sorted({item.metric for item in stage.metrics} - known):
            raise EvidenceError(f"Metrics without a place in the plan: {', '.join(unknown)}.")
