"""What a plan's metrics may measure."""

from __future__ import annotations

import pytest

from conch.ab import Direction, Kind, Measure, Metric, ReleasePlan, Step
from conch.control.evidence import (
    MetricSource,
    MetricSourceError,
    Provider,
    RampStage,
    check_plan,
    parse_source,
)
from conch.core import InvalidValueError


def plan_of(source: str, measure: Measure = Measure.EVENT_RATE) -> ReleasePlan:
    """Return a plan with one guardrail."""
    metric = Metric(
        name="it",
        kind=Kind.GUARDRAIL,
        measure=measure,
        direction=Direction.LOWER,
        unit="share",
        counted_per="user",
        source=source,
        margin=0.25,
    )
    return ReleasePlan(steps=(Step(weight=500),), metrics=(metric,), assignment_unit="user")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("envoy:errors", MetricSource(provider=Provider.ENVOY, name="errors")),
        ("envoy:latency", MetricSource(provider=Provider.ENVOY, name="latency")),
        (
            "envoy:slow:250ms",
            MetricSource(provider=Provider.ENVOY, name="slow", threshold_ms=250.0),
        ),
        ("envoy:slow:1.5s", MetricSource(provider=Provider.ENVOY, name="slow", threshold_ms=1500)),
        ("events:errors", MetricSource(provider=Provider.EVENTS, name="errors")),
        (
            "events:bought it@7d",
            MetricSource(provider=Provider.EVENTS, name="bought it", window_s=604_800.0),
        ),
    ],
)
def test_sources(source: str, expected: MetricSource) -> None:
    """Each documented form is read as it is meant."""
    assert parse_source(source) == expected
    assert check_plan(plan_of(source, Measure.RATIO)) == {"it": expected}


@pytest.mark.parametrize(
    "source",
    [
        *("", "envoy", "envoy:", "envoy:slow", "envoy:slow:250", "envoy:slow:-1ms"),
        *("prometheus:up", "events:", "events:@24h", "events:a@24", "events:a@b@24h"),
        "envoy:errors:1ms",
    ],
)
def test_unknown_sources(source: str) -> None:
    """Anything else is refused when the plan is made, with the forms that there are."""
    with pytest.raises(MetricSourceError, match="source"):
        check_plan(plan_of(source))


@pytest.mark.parametrize(
    ("source", "measure"),
    [("envoy:latency", Measure.EVENT_RATE), ("events:paid", Measure.ADJUSTED_MEAN)],
)
def test_measures_that_do_not_fit(source: str, measure: Measure) -> None:
    """A measure that cannot be made of its source is refused, not counted as something else."""
    with pytest.raises(MetricSourceError, match="'it'"):
        check_plan(plan_of(source, measure))


def test_the_share_of_a_stage_is_among_those_compared() -> None:
    """Against a baseline arm of equal size the share is one half, whatever the rest gets."""
    assert RampStage(number=0, step=0, weight=500, started_s=0.0).share == 0.05
    equal = RampStage(number=0, step=0, weight=500, control_weight=500, started_s=0.0)
    assert equal.share == 0.5
    with pytest.raises(InvalidValueError):
        RampStage(number=0, step=0, weight=10_000, started_s=0.0)
