"""The plan of an experiment: what is counted and what has to be shown, without any steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from conch.ab import GoalRule, Kind, ReleasePlan, Step
from conch.core import TOTAL_WEIGHT

from ..plans import Plan, PlanBook, PlanInvalidError

_BASE: Final = "canary"
"""The preset that guardrails and times come from where nothing is said."""

_OF_RELEASES: Final = (
    *("flip", "steps", "bake_s", "holdback", "shadow", "approve", "equal_baseline"),
    *("patch_only", "at_deadline", "when_unhealthy"),
)


def experiment_plan(
    book: PlanBook,
    asked: Mapping[str, Any] | None,
    *,
    changes: Mapping[str, Any] | None,
    tags: Mapping[str, Any],
) -> Plan:
    """Return how an experiment is decided; its one step is replaced for each treatment.

    Args:
        book: Resolves plans.
        asked: The body of a plan file: guardrails, goals, diagnostics, error levels and times.
        changes: Single fields on top of it.
        tags: The registered model's.

    Raises:
        PlanInvalidError: A field is unknown, out of range or one of releases only, or no metric is
            a goal.
    """
    for body in (asked or {}, changes or {}):
        if wrong := sorted(set(_OF_RELEASES) & set(body)):
            raise PlanInvalidError(
                f"{', '.join(wrong)}: an experiment has shares that do not move, and releases "
                "nothing.",
                hint="Leave it out, or start a release.",
            )
    body = {"plan": _BASE, "name": "experiment", **(asked or {}), "shadow": False}
    plan = book.plan(body, changes=changes, tags=tags)
    assert plan is not None, "a body is never the plan by hand"
    if not plan.rule.of_kind(Kind.GOAL):
        raise PlanInvalidError(
            "goals: an experiment needs a metric that says which arm is better.",
            hint="Such as `goals: {purchase: {source: events:purchase, direction: "
            "higher-is-better}}`.",
        )
    rule = plan.rule
    goal_rule = GoalRule.BETTER if rule.goal_rule is GoalRule.NONE else rule.goal_rule
    return replace(plan, rule=replace(rule, goal_rule=goal_rule))


def rule_for(plan: Plan, *, share: float, treatments: int) -> ReleasePlan:
    """Return what one treatment is decided by.

    The error level is divided by the number of treatments (Bonferroni), so that it holds for the
    experiment as a whole.

    Args:
        plan: Of the experiment.
        share: The treatment's share of the units that it and the control have, in (0, 1).
        treatments: How many there are.
    """
    first = plan.rule.steps[0]
    weight = min(max(round(share * TOTAL_WEIGHT), 1), TOTAL_WEIGHT - 1)
    step = Step(weight=weight, minimum_s=first.minimum_s, minimum_units=first.minimum_units)
    return replace(plan.rule, steps=(step,), alpha=plan.rule.alpha / treatments)
