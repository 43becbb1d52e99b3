"""What one unit did in one stage, and what that adds to the statistics: pure, exact arithmetic.

The statistics are sums over units. When a unit's row changes, its former contribution is taken
out and the new one put in, so looking at the sums never means looking at the units. Sums are whole
numbers (of microseconds, or of a metric's value in steps of 2^-40), so that what was taken out
leaves nothing behind, and second moments lose nothing to cancellation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, TypeAlias

from conch.ab import Counts, Grid, Histogram, Measure, Moments, PairMoments, Statistic
from conch.events import Exposure, Metric

from .sources import ERRORS, LATENCY, SLOW, MetricSource, Provider

Contribution: TypeAlias = tuple[int, int, int, int, int]
"""What one unit adds: a value x, a weight y, and the products xx, yy, xy. Of a quantile and of a
score, x is the bin of its histogram that the unit falls into."""

_GRIDS: Final = {Measure.QUANTILE: Grid.LOGARITHMIC, Measure.SCORE: Grid.UNIT}

# google.rpc.Code: UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS
_FAILED_GRPC: Final = frozenset({2, 4, 8, 13, 14, 15})
_FAILED_HTTP: Final = 500
_US_PER_MS: Final = 1000
_STEPS_PER_VALUE: Final = 2**40
_STEPS_PER_US: Final = 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric of a plan as it is counted per unit.

    Attributes:
        metric: The metric's name in the plan.
        measure: What is made of it.
        source: What is counted.
        of_events: Whether it counts metric events, not requests.
        in_us: Whether it sums latencies, in whole microseconds.
        steps: How many steps of the sums are one of what a unit's value counts.
    """

    metric: str
    measure: Measure
    source: MetricSource
    of_events: bool = field(init=False)
    in_us: bool = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        of_events = self.source.provider is Provider.EVENTS
        in_us = not of_events and self.source.name == LATENCY
        steps = 1
        if self.measure is not Measure.EVENT_RATE and of_events:
            steps = _STEPS_PER_VALUE
        elif in_us and self.measure is Measure.MEAN:
            steps = _STEPS_PER_US
        for name, value in (("of_events", of_events), ("in_us", in_us), ("steps", steps)):
            object.__setattr__(self, name, value)

    def of_request(self, exposure: Exposure) -> int:
        """Return what a request adds to its unit: 0 or 1, or microseconds."""
        if self.of_events:
            return 0
        if self.source.name == ERRORS:
            return int(failed(exposure))
        latency_ms = exposure.latency_ms or 0.0
        if self.source.name == SLOW:
            assert self.source.threshold_ms is not None
            return int(latency_ms > self.source.threshold_ms)
        return round(latency_ms * _US_PER_MS)

    def of_event(self, event: Metric) -> float:
        """Return what a metric event adds to its unit."""
        return float(event.value != 0) if self.measure is Measure.EVENT_RATE else event.value


NO_ANSWER: Final = "no-answer"
"""Flag of an exposure whose answer a cluster's logger did not show: it failed, or took too long."""


def failed(exposure: Exposure) -> bool:
    """Tell whether the version is to blame for the outcome of a request."""
    if exposure.flags == NO_ANSWER:
        return True
    if exposure.grpc_status is not None and exposure.grpc_status in _FAILED_GRPC:
        return True
    return exposure.status is not None and exposure.status >= _FAILED_HTTP


@dataclass(slots=True, kw_only=True)
class UnitRow:
    """One unit in one stage.

    Attributes:
        arm: 0: control, 1: candidate; the one that it met first.
        both: Whether it met the other one, too. What it did there is not counted.
        first_s: When its first request began.
        requests: Requests in its arm.
        values: By column, the sum of what its requests or events added.
    """

    arm: int
    first_s: float
    values: list[float]
    both: bool = False
    requests: int = 0


def contribution(
    column: Column, *, value: float, requests: int, first_s: float, matured_s: float
) -> Contribution | None:
    """Return what a unit adds to a column's sums; None before its window has closed.

    Args:
        column: The column.
        value: The unit's, as `UnitRow.values` holds it.
        requests: Its requests.
        first_s: When its first request began.
        matured_s: Up to when everything is known; both in Unix seconds.
    """
    window_s = column.source.window_s
    if window_s is not None and first_s > matured_s - window_s:
        return None
    if column.measure is Measure.EVENT_RATE:
        return (1, 0, 1, 0, 0) if value > 0 else (0, 0, 0, 0, 0)
    if column.in_us and column.measure is not Measure.RATIO:
        value = value / requests if requests else 0.0
    if column.measure is Measure.QUANTILE:
        shown = value / _US_PER_MS if column.in_us else value
        return (Histogram.of([shown], Grid.LOGARITHMIC).bins[0], 0, 0, 0, 0)
    if column.measure is Measure.SCORE:
        held = min(max(value, 0.0), 1.0)
        return (Histogram.of([held], Grid.UNIT).bins[0], 0, 0, 0, 0)
    x = round(value * column.steps)
    if column.measure is Measure.MEAN:
        return (x, 0, x * x, 0, 0)
    return (x, requests, x * x, requests * requests, x * requests)


class Sums:
    """Sums over the units of one arm in one stage, for one column.

    Attributes:
        n: Units.
        bins: Units by bin of a quantile's or score's histogram; empty for everything else.
    """

    __slots__ = ("bins", "n", "x", "xx", "xy", "y", "yy")

    def __init__(
        self,
        n: int = 0,
        x: int = 0,
        y: int = 0,
        xx: int = 0,
        yy: int = 0,
        xy: int = 0,
        bins: Mapping[int, int] | None = None,
    ) -> None:
        self.bins = dict(bins or {})
        self.n, self.x, self.y, self.xx, self.yy, self.xy = n, x, y, xx, yy, xy

    def add(self, column: Column, one: Contribution | None, sign: int = 1) -> None:
        """Put a unit's contribution in, or take it out."""
        if one is None:
            return
        x, y, xx, yy, xy = one
        self.n += sign
        if column.measure in _GRIDS:
            self.bins[x] = self.bins.get(x, 0) + sign
            return
        self.x += sign * x
        self.y += sign * y
        self.xx += sign * xx
        self.yy += sign * yy
        self.xy += sign * xy

    def statistic(self, column: Column) -> Statistic:
        """Return the sums as a statistic of `conch.ab`; latencies in milliseconds."""
        n, scale = self.n, column.steps * (_US_PER_MS if column.in_us else 1)
        if column.measure is Measure.EVENT_RATE:
            return Counts(units=n, events=self.x)
        if column.measure in _GRIDS:
            rising = sorted(number for number, count in self.bins.items() if count)
            return Histogram(
                grid=_GRIDS[column.measure],
                bins=tuple(rising),
                counts=tuple(self.bins[number] for number in rising),
            )
        if column.measure is Measure.MEAN:
            if not n:
                return Moments()
            return Moments(
                n=n,
                mean=float(Fraction(self.x, n * scale)),
                m2=float(Fraction(n * self.xx - self.x * self.x, n * scale**2)),
            )
        if not n:
            return PairMoments()
        return PairMoments(
            n=n,
            mean_x=float(Fraction(self.x, n * scale)),
            mean_y=float(Fraction(self.y, n)),
            m2_x=float(Fraction(n * self.xx - self.x * self.x, n * scale**2)),
            m2_y=float(Fraction(n * self.yy - self.y * self.y, n)),
            c_xy=float(Fraction(n * self.xy - self.x * self.y, n * scale)),
        )

    def as_json(self) -> list[Any]:
        """Return the sums as text, since they exceed what JSON readers take for a number."""
        sums = [str(value) for value in (self.n, self.x, self.y, self.xx, self.yy, self.xy)]
        return [*sums, [[number, count] for number, count in self.bins.items() if count]]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Sums:
        """Read what `as_json` wrote."""
        n, x, y, xx, yy, xy = (int(text) for text in value[:6])
        return cls(n, x, y, xx, yy, xy, dict(value[6]))
