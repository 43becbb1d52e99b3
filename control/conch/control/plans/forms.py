"""The fields of a plan file, each with its bounds and what it is where nobody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from conch.ab import Direction, Fallback, GoalRule

from .values import Gate

PER_PERCENT: Final = 100
"""Basis points in a percent."""

_SLACK: Final = 1e-6


def _two_decimals(value: float) -> float:
    if abs(value * PER_PERCENT - round(value * PER_PERCENT)) > _SLACK:
        raise ValueError("a share has at most two decimals")
    return value


Percent = Annotated[float, Field(ge=0, le=100), AfterValidator(_two_decimals)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=366 * 86_400)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepPart(_Part):
    """One share; what it leaves out comes from `step_minimum_s` and `step_minimum_units`."""

    weight: Percent
    minimum_s: Seconds | None = None
    minimum_units: int | None = Field(default=None, ge=0)


class MetricPart(_Part):
    """How a metric is counted and judged."""

    margin: float = Field(default=0.1, gt=0, le=10)
    harm_beyond: float = Field(default=0.0, ge=0)
    tolerated: Share = 0.0
    source: str | None = Field(default=None, min_length=1, max_length=200)
    slower_than_ms: float | None = Field(default=None, gt=0)
    measure: Literal["event-rate", "mean", "ratio", "quantile", "score"] = "event-rate"
    level: float | None = Field(default=None, gt=0, lt=1)
    direction: Direction = Direction.LOWER
    minimum_effect: float = Field(default=0.0, ge=0, lt=1)
    concentration: float = Field(default=100.0, gt=0)
    minimum_units: int = Field(default=100, ge=2)


class ShadowPart(_Part):
    """The gate before the first real percent."""

    share: Percent = 10.0
    minimum_requests: int = Field(default=200, ge=1)
    least_agreement: Share = 0.99
    most_failures: Share = 0.0
    deadline_s: Seconds = 3_600.0


class PlanPart(_Part):
    """A whole plan as it is written."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")
    flip: bool = False
    steps: tuple[StepPart, ...] = ()
    step_minimum_s: Seconds = 0.0
    step_minimum_units: int = Field(default=0, ge=0)
    guardrails: dict[str, MetricPart] = Field(min_length=1)
    goals: dict[str, MetricPart] = {}
    diagnostics: dict[str, MetricPart] = {}
    goal_rule: GoalRule = GoalRule.NONE
    alpha: float = Field(default=0.05, gt=0, lt=1)
    minimum_runtime_s: Seconds = 0.0
    bake_s: Seconds = 3_600.0
    holdback: Percent = 5.0
    deadline_s: Seconds | None = 86_400.0
    at_deadline: Fallback = Fallback.HOLD
    when_unhealthy: Fallback = Fallback.HOLD
    freshness_s: float = Field(default=30.0, gt=0, le=86_400)
    exposure_limit: float = Field(default=0.01, gt=0, le=1)
    srm_alpha: float = Field(default=0.001, gt=0, lt=1)
    shadow: ShadowPart | None = None
    approve: tuple[Gate, ...] = ()
    equal_baseline: bool = False
    patch_only: bool = False
    record_every_s: float = Field(default=60.0, gt=0, le=86_400)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        """Take a bare number for a step, and `shadow: true` or `false`."""
        if not isinstance(given, Mapping):
            return given
        full = dict(given)
        if isinstance(steps := full.get("steps"), Sequence) and not isinstance(steps, str):
            full["steps"] = [one if isinstance(one, Mapping) else {"weight": one} for one in steps]
        if isinstance(shadow := full.get("shadow"), bool):
            full["shadow"] = {} if shadow else None
        return full
