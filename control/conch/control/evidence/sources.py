"""What a plan's metrics measure: the words of `Metric.source`.

    envoy:errors          the version failed to answer (below)
    envoy:slow:250ms      the answer took longer than 250 ms, or the caller went away after that
    envoy:latency         milliseconds to the last byte of the answer
    events:purchase       metric events of that name, joined by unit
    events:purchase@24h   the same, of units whose first exposure was at least 24 h ago, within
                          24 h of it

What is made of them is the metric's `measure`:

- event rate: the share of units that had any (a failed request, a slow one, an event whose value
  is not 0);
- mean: the mean per unit of their sum; for latencies, of the unit's mean request;
- ratio: their sum over the unit's requests, by the delta method over units;
- quantile: the quantile over units of what the mean is taken of;
- score: the mean over units of their events' sum, held within 0 and 1.

A window may stand in the source or in the metric's `window_s`.

A request has failed when the version is to blame: HTTP status 500 and above, or the gRPC statuses
UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE and DATA_LOSS. A caller's own
mistakes (400, 404, INVALID_ARGUMENT) are no failures, nor are callers who went away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from conch.ab import Measure, Metric, ReleasePlan
from conch.core import InvalidValueError


class MetricSourceError(InvalidValueError):
    """A metric's source names nothing that is counted here, or not in that measure."""

    code = "metric-source-unknown"


class Provider(StrEnum):
    """Who sees it."""

    ENVOY = "envoy"
    EVENTS = "events"


ERRORS: Final = "errors"
SLOW: Final = "slow"
LATENCY: Final = "latency"
_UNITS_MS: Final = {"ms": 1.0, "s": 1000.0}
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SLOW: Final = re.compile(r"slow:(?P<value>\d+(\.\d+)?)(?P<unit>ms|s)")
_EVENTS: Final = re.compile(
    r"(?P<name>[^@:\s][^@:]{0,150})(@(?P<value>\d+(\.\d+)?)(?P<unit>[smhd]))?"
)
_HINT: Final = (
    "Write envoy:errors, envoy:slow:250ms, envoy:latency, events:NAME or events:NAME@24h."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSource:
    """One source, read.

    Attributes:
        provider: Who sees it.
        name: `errors`, `slow` or `latency` of Envoy; the name of the metric events.
        threshold_ms: Above which a request is slow.
        window_s: Events of a unit count for so long after its first exposure, and units count once
            that time is over; None: at once and for ever.
    """

    provider: Provider
    name: str
    threshold_ms: float | None = None
    window_s: float | None = None


def parse_source(source: str) -> MetricSource:
    """Read a metric's source.

    Raises:
        MetricSourceError: It is none of the forms above.

    >>> parse_source("envoy:slow:0.25s").threshold_ms
    250.0
    >>> parse_source("events:purchase@24h").window_s
    86400.0
    """
    provider, _, rest = source.partition(":")
    if provider == Provider.ENVOY and rest in (ERRORS, LATENCY):
        return MetricSource(provider=Provider.ENVOY, name=rest)
    if provider == Provider.ENVOY and (slow := _SLOW.fullmatch(rest)):
        threshold = float(slow["value"]) * _UNITS_MS[slow["unit"]]
        return MetricSource(provider=Provider.ENVOY, name=SLOW, threshold_ms=threshold)
    if provider == Provider.EVENTS and (events := _EVENTS.fullmatch(rest)):
        window = float(events["value"]) * _UNITS_S[events["unit"]] if events["unit"] else None
        return MetricSource(provider=Provider.EVENTS, name=events["name"], window_s=window)
    raise MetricSourceError(f"{source!r} is no source of a metric.", hint=_HINT)


def check_plan(plan: ReleasePlan) -> dict[str, MetricSource]:
    """Return the source of each metric of a plan, by the metric's name.

    Raises:
        MetricSourceError: One of them cannot be counted.
    """
    found = {}
    for metric in plan.metrics:
        source = parse_source(metric.source)
        _check_measure(metric, source)
        window_s = source.window_s or metric.window_s or None
        found[metric.name] = replace(source, window_s=window_s)
    return found


def _check_measure(metric: Metric, source: MetricSource) -> None:
    if metric.measure is Measure.ADJUSTED_MEAN:
        raise MetricSourceError(
            f"Metric {metric.name!r} is of measure {metric.measure.value}, which is not counted "
            "from the event log.",
            hint="Give another measure, or analyse it in a notebook.",
        )
    if source.provider is Provider.ENVOY and (
        metric.window_s
        or metric.measure is Measure.SCORE
        or (metric.measure is Measure.EVENT_RATE and source.name == LATENCY)
        or (metric.measure is Measure.QUANTILE and source.name != LATENCY)
    ):
        raise MetricSourceError(
            f"Metric {metric.name!r} ({metric.measure.value} of {metric.source}) has no meaning.",
            hint="Rates are of errors or of slow:250ms, quantiles of latency; scores and "
            "windows are of events.",
        )
    if metric.window_s and source.window_s not in (None, metric.window_s):
        raise MetricSourceError(
            f"Metric {metric.name!r} has two windows: {metric.window_s:g} s and {metric.source}."
        )
