"""Plans as people write them: YAML or JSON, in percent and seconds, on top of a preset.

What a file leaves out comes from the preset that its `plan` names, or from its form.
Every mistake is told with the path of its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pydantic import ValidationError

from conch.ab import Baseline, Kind, Measure, Metric, ReleasePlan, Step
from conch.core import TOTAL_WEIGHT, ConchError

from ..evidence import check_plan, parse_source
from .bodies import completed
from .forms import PER_PERCENT, MetricPart, PlanPart, ShadowPart
from .values import UNIT, Gate, Plan, PlanInvalidError, Road, ShadowGate

_UNITS: Final = {
    "event-rate": "share of units",
    "mean": "mean per unit",
    "ratio": "sum per request",
    "quantile": "quantile over units",
    "score": "mean score of units",
}
_EVERYTHING: Final = 100.0
ERRORS: Final = "error-rate"
SLOW: Final = "slow-share"


def plan_from(body: Mapping[str, Any], *, presets: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan that a body describes.

    Args:
        body: As in a file; `plan` names the preset that it starts from.
        presets: Complete bodies by name.

    Raises:
        PlanInvalidError: A field is unknown, missing or out of range; the message names each.
    """
    return _plan(_checked(completed(body, presets=presets)))


def _checked(body: Mapping[str, Any]) -> PlanPart:
    try:
        return PlanPart.model_validate(body)
    except ValidationError as error:
        problems = {
            ".".join(str(part) for part in one["loc"]) or "plan": one["msg"]
            for one in error.errors()
        }
        raise PlanInvalidError(
            "; ".join(f"{where}: {words}" for where, words in problems.items()) + ".",
            hint="docs/reference/plans.md lists every field.",
            problems=problems,
        ) from error


def _plan(part: PlanPart) -> Plan:
    metrics = []
    for kind, group, parts in (
        (Kind.GUARDRAIL, "guardrails", part.guardrails),
        (Kind.GOAL, "goals", part.goals),
        (Kind.DIAGNOSTIC, "diagnostics", part.diagnostics),
    ):
        for name, one in parts.items():
            with _told_of(f"{group}.{name}"):
                metrics.append(_metric(name, kind, one))
    with _told_of("steps"):
        steps = _steps(part)
    with _told_of("plan"):
        rule = ReleasePlan(
            steps=steps,
            metrics=tuple(metrics),
            assignment_unit=UNIT,
            alpha=part.alpha,
            goal_rule=part.goal_rule,
            minimum_runtime_s=part.minimum_runtime_s,
            bake_s=part.bake_s,
            deadline_s=part.deadline_s,
            at_deadline=part.at_deadline,
            when_unhealthy=part.when_unhealthy,
            freshness_s=part.freshness_s,
            exposure_limit=part.exposure_limit,
            srm_alpha=part.srm_alpha,
            baseline=Baseline.EQUAL_SHARE if part.equal_baseline else Baseline.REST,
        )
        check_plan(rule)
    return Plan(
        name=part.name,
        road=Road.FLIP if part.flip else Road.STEPS,
        rule=rule,
        holdback=_basis_points(part.holdback),
        shadow=None if part.shadow is None else _shadow(part.shadow),
        approvals=tuple(gate for gate in Gate if gate in part.approve),
        patch_only=part.patch_only,
        record_every_s=part.record_every_s,
    )


def _shadow(part: ShadowPart) -> ShadowGate:
    return ShadowGate(
        share=_basis_points(part.share),
        minimum_requests=part.minimum_requests,
        least_agreement=part.least_agreement,
        most_failures=part.most_failures,
        deadline_s=part.deadline_s,
    )


def _steps(part: PlanPart) -> tuple[Step, ...]:
    if part.flip:
        if part.steps:
            raise PlanInvalidError("a plan that flips has no steps.")
        if not part.holdback:
            raise PlanInvalidError(
                "`holdback` is 0, so nothing could be compared after the flip.",
                hint="Let the former version keep a share, such as 5 percent.",
            )
        weight = TOTAL_WEIGHT - _basis_points(part.holdback)
        return (Step(weight=weight, minimum_s=part.bake_s),)
    kept = [one for one in part.steps if one.weight != _EVERYTHING]
    if not kept:
        raise PlanInvalidError("a plan that does not flip needs a step below 100.")
    if part.steps[-1].weight != _EVERYTHING and len(kept) != len(part.steps):
        raise PlanInvalidError("100 can only be the last step: it is the promotion.")
    return tuple(
        Step(
            weight=_basis_points(one.weight),
            minimum_s=part.step_minimum_s if one.minimum_s is None else one.minimum_s,
            minimum_units=(
                part.step_minimum_units if one.minimum_units is None else one.minimum_units
            ),
        )
        for one in kept
    )


def _metric(name: str, kind: Kind, one: MetricPart) -> Metric:
    source = _source(name, one)
    window_s = parse_source(source).window_s or 0.0
    return Metric(
        name=name,
        kind=kind,
        measure=Measure(one.measure),
        direction=one.direction,
        unit=_UNITS[one.measure],
        counted_per=UNIT,
        source=source,
        margin=one.margin,
        harm_beyond=one.harm_beyond,
        tolerated=one.tolerated,
        minimum_effect=one.minimum_effect,
        concentration=one.concentration,
        minimum_units=one.minimum_units,
        level=one.level,
        window_s=window_s,
    )


def _source(name: str, one: MetricPart) -> str:
    if one.source is not None and one.slower_than_ms is not None:
        raise PlanInvalidError("give `source` or `slower_than_ms`, not both.")
    if one.source is not None:
        return one.source
    if one.slower_than_ms is not None:
        return f"envoy:slow:{one.slower_than_ms:g}ms"
    if name == ERRORS:
        return "envoy:errors"
    if name == SLOW:
        raise PlanInvalidError(
            "`slower_than_ms` is missing: what counts as slow is not said.",
            hint="Give the objective in milliseconds, or `release.slo_ms` in the settings.",
        )
    raise PlanInvalidError(
        "`source` is missing: what is counted is not said.",
        hint="Such as `events:wrong-label` for metric events that the application reports.",
    )


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """Tell what is refused in the block with the path of its field."""
    try:
        yield
    except ConchError as error:
        words = error.message[0].lower() + error.message[1:]
        raise PlanInvalidError(f"{where}: {words}", hint=error.hint) from error


def _basis_points(percent: float) -> int:
    return round(percent * PER_PERCENT)
