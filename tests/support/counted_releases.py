"""A release's events, made and counted for tests, and what brute force says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from conch.ab import (
    Counts,
    Direction,
    Grid,
    Histogram,
    Kind,
    Measure,
    Metric,
    Moments,
    PairMoments,
    ReleasePlan,
    Statistic,
    Step,
)
from conch.control.evidence import EvidenceQuestion, RampStage, ServedArm
from conch.core import Ordinal, SlotName, TritonName
from conch.events import Event, Exposure, PollReport, hash_unit
from conch.events import Metric as MetricEvent

RELEASE = "r-1"
MODEL = TritonName("digits")
CONTROL = ServedArm(build_id="b1", ordinal=Ordinal(1), slot=SlotName("a"))
CANDIDATE = ServedArm(build_id="b2", ordinal=Ordinal(2), slot=SlotName("b"))
NOW = 1_800_000_000.0


def metric(
    name: str,
    source: str,
    measure: Measure = Measure.EVENT_RATE,
    *,
    level: float | None = None,
    window_s: float = 0.0,
) -> Metric:
    """Return a guardrail."""
    return Metric(
        name=name,
        kind=Kind.GUARDRAIL,
        measure=measure,
        direction=Direction.LOWER,
        unit="1",
        counted_per="user",
        source=source,
        margin=0.25,
        level=level,
        window_s=window_s,
    )


PLAN = ReleasePlan(
    steps=(Step(weight=1000), Step(weight=5000)),
    metrics=(
        metric("errors", "envoy:errors"),
        metric("errors-per-request", "envoy:errors", Measure.RATIO),
        metric("slow", "envoy:slow:100ms"),
        metric("latency", "envoy:latency", Measure.MEAN),
        metric("latency-per-request", "envoy:latency", Measure.RATIO),
        metric("wrong", "events:wrong"),
        metric("spent", "events:spent", Measure.MEAN),
        metric("spent-per-request", "events:spent", Measure.RATIO),
        metric("spent-in-time", "events:spent@10s", Measure.MEAN),
        metric("spent-in-window", "events:spent", Measure.MEAN, window_s=10.0),
        metric("spent-score", "events:spent", Measure.SCORE),
        metric("latency-p90", "envoy:latency", Measure.QUANTILE, level=0.9),
    ),
    assignment_unit="user",
)
QUESTION = EvidenceQuestion(
    model=MODEL,
    release=RELEASE,
    plan=PLAN,
    stages=(
        RampStage(number=0, step=0, weight=1000, started_s=NOW, ended_s=NOW + 30),
        RampStage(number=1, step=1, weight=5000, started_s=NOW + 30),
    ),
    candidate=CANDIDATE,
    control=CONTROL,
)


def exposure(
    number: int,
    unit: str,
    *,
    at_s: float,
    candidate: bool = False,
    stage: int = 0,
    release: str = RELEASE,
    status: int = 200,
    grpc_status: int | None = None,
    latency_ms: float = 10.0,
) -> Exposure:
    """Return a request of a unit, `at_s` seconds after `NOW`."""
    arm = CANDIDATE if candidate else CONTROL
    return Exposure(
        event_id=f"e{number}",
        occurred_at=NOW + at_s,
        received_at=NOW + at_s + 1,
        model=MODEL,
        slot=arm.slot,
        ordinal=arm.ordinal,
        build_id=arm.build_id,
        unit_hash=hash_unit(unit),
        release=release,
        stage=stage,
        latency_ms=latency_ms,
        status=status,
        grpc_status=grpc_status,
    )


def happened(number: int, unit: str, name: str, value: float, *, at_s: float) -> MetricEvent:
    """Return a metric event of a unit."""
    return MetricEvent(
        event_id=f"m{number}",
        occurred_at=NOW + at_s,
        received_at=NOW + at_s,
        name=name,
        value=value,
        unit_hash=hash_unit(unit),
    )


class Lines:
    """Stands in for the access log's reader: says that the log was read whole."""

    def poll(self) -> PollReport:
        """Read nothing."""
        return PollReport(files=1)


@dataclass(slots=True)
class _Unit:
    arm: int
    first_s: float
    requests: list[Exposure] = field(default_factory=list)
    events: list[MetricEvent] = field(default_factory=list)
    both: bool = False


def brute_force(
    events: Iterable[Event], *, cut_s: float
) -> dict[int, tuple[int, int, dict[str, tuple[Statistic, Statistic]]]]:
    """Count a whole set of events at once, in the order of the log.

    Returns:
        By stage: units of control and candidate, and both arms' statistic by metric.
    """
    stages: dict[int, dict[str, _Unit]] = {}
    known: list[Event] = list(events)
    for event in known:
        if isinstance(event, Exposure) and event.release == RELEASE:
            arm = int(event.slot == CANDIDATE.slot)
            units = stages.setdefault(event.stage, {})
            unit = units.setdefault(event.unit_hash, _Unit(arm=arm, first_s=event.occurred_at))
            unit.first_s = min(unit.first_s, event.occurred_at)
            if unit.arm == arm:
                unit.requests.append(event)
            else:
                unit.both = True
    for event in known:
        if isinstance(event, MetricEvent):
            met = [
                (units[event.unit_hash].first_s, number)
                for number, units in stages.items()
                if event.unit_hash in units and units[event.unit_hash].first_s <= event.occurred_at
            ]
            if met:
                stages[max(met)[1]][event.unit_hash].events.append(event)
    return {
        number: (
            sum(unit.arm == 0 for unit in units.values()),
            sum(unit.arm == 1 for unit in units.values()),
            {
                one.name: (
                    _statistic(one, [u for u in units.values() if u.arm == 0], cut_s),
                    _statistic(one, [u for u in units.values() if u.arm == 1], cut_s),
                )
                for one in PLAN.metrics
            },
        )
        for number, units in stages.items()
    }


def _statistic(one: Metric, units: Sequence[_Unit], cut_s: float) -> Statistic:
    requests = np.array([len(unit.requests) for unit in units], dtype=float)
    sums: list[float]
    match one.source:
        case "envoy:errors":
            bad = {2, 4, 8, 13, 14, 15}
            sums = [
                float(sum((r.status or 0) >= 500 or r.grpc_status in bad for r in unit.requests))
                for unit in units
            ]
        case "envoy:slow:100ms":
            sums = [float(sum((r.latency_ms or 0) > 100 for r in u.requests)) for u in units]
        case "envoy:latency":
            sums = [sum(r.latency_ms or 0.0 for r in unit.requests) for unit in units]
            means = np.array(sums) / requests if units else np.array([])
            if one.measure is Measure.MEAN:
                return Moments.of(means)
            if one.measure is Measure.QUANTILE:
                return Histogram.of(means, Grid.LOGARITHMIC)
        case source if "@10s" in source or one.window_s:
            units = [unit for unit in units if unit.first_s <= cut_s - 10]
            sums = [
                sum(
                    e.value
                    for e in unit.events
                    if e.name == "spent" and e.occurred_at <= unit.first_s + 10
                )
                for unit in units
            ]
        case source:
            name = source.removeprefix("events:")
            found = [[e.value for e in unit.events if e.name == name] for unit in units]
            event_rate = one.measure is Measure.EVENT_RATE
            sums = [float(any(v)) if event_rate else sum(v) for v in found]
    match one.measure:
        case Measure.EVENT_RATE:
            return Counts(units=len(units), events=sum(value > 0 for value in sums))
        case Measure.MEAN:
            return Moments.of(sums)
        case Measure.SCORE:
            return Histogram.of(np.clip(sums, 0.0, 1.0), Grid.UNIT)
        case _:
            return PairMoments.of(sums, requests)
