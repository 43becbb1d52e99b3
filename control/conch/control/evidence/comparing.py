"""Two answers to the same request, compared; and what a row of such pairs comes to.

What is compared depends on the output. Scores per class (floats with two or more in the last
dimension) have a label, the place of the largest; whole numbers, texts and truth values are labels
themselves. Labels have to be equal. Any other float has no label: it agrees while it is within
`TOLERANCE` of the live one's size, or of 1 where that is smaller. Distances of scores are reported
and decide nothing, since another model never has the same.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conch.events import Prediction

from ..capturing.reading import SHADOW_PREFIX
from .latencies import LatencyHistogram
from .shadows import Disagreement, ShadowSummary

TOLERANCE: Final = 0.05
_WAITING: Final = 20_000
"""Answers that wait for their other half; a captured one may be large."""
_SHOWN: Final = 20
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How two answers compare.

    Attributes:
        kind: `label`, `distance`, `shape` or `error` where they disagree; empty where they agree.
        output: The output that decided.
        distance: Largest absolute difference of a number; None where there is none.
        label: Whether a label differs.
    """

    kind: str = ""
    output: str = ""
    distance: float | None = None
    label: bool = False


def compare(live: Mapping[str, Any], candidate: Mapping[str, Any]) -> Verdict:
    """Compare two answers, tensors by name.

    >>> compare({"y": [[0.1, 0.9]]}, {"y": [[0.4, 0.6]]}).kind
    ''
    >>> compare({"y": [[0.1, 0.9]]}, {"y": [[0.6, 0.4]]}).kind
    'label'
    >>> compare({"y": [[10.0]]}, {"y": [[12.0]]}).kind
    'distance'
    """
    found = [_compare_output(name, value, candidate.get(name)) for name, value in live.items()]
    order = ("shape", "label", "distance", "")
    worst = min(found, key=lambda one: order.index(one.kind), default=Verdict())
    distances = [one.distance for one in found if one.distance is not None]
    return Verdict(
        kind=worst.kind,
        output=worst.output,
        distance=max(distances, default=None),
        label=any(one.label for one in found),
    )


class Comparison:
    """The mirrored requests of one release, fed in the order of the event log.

    Attributes:
        release: Whose candidate answers the copies.
        next_offset: The first offset of the event log that was not looked at.
    """

    def __init__(self, release: str, model: str, *, next_offset: int) -> None:
        self.release = release
        self.next_offset = next_offset
        self._model = model
        self._live: OrderedDict[str, Prediction] = OrderedDict()
        self._copies: OrderedDict[str, Prediction] = OrderedDict()
        self._latency = (LatencyHistogram(), LatencyHistogram())
        self._worst: list[tuple[float, float, int, Disagreement]] = []
        self._pairs = self._unpaired = self._disagreements = self._labels = 0
        self._candidate_errors = self._live_errors = 0
        self._worst_distance: float | None = None
        self._since_s: float | None = None

    def take(self, event: Prediction) -> None:
        """Look at one captured answer."""
        if event.model != self._model or not event.request_id:
            return
        if event.event_id.startswith(SHADOW_PREFIX):
            if event.release != self.release:
                return
            live = self._live.pop(event.request_id, None)
            if live is None:
                self._copies[event.request_id] = event
            else:
                self._pair(live, event)
        else:
            copy = self._copies.pop(event.request_id, None)
            if copy is None:
                self._live[event.request_id] = event
            else:
                self._pair(event, copy)
        self._tidy(event.occurred_at)

    def summary(self, *, cut_s: float) -> ShadowSummary:
        """Return what the pairs come to.

        Args:
            cut_s: Up to when captured answers were read, Unix seconds.
        """
        live, candidate = (
            {name: latency.quantile_ms(q) for name, q in (("p50", 0.5), ("p99", 0.99))}
            for latency in self._latency
        )
        return ShadowSummary(
            pairs=self._pairs,
            unpaired=self._unpaired,
            disagreements=self._disagreements,
            labels_differ=self._labels,
            candidate_errors=self._candidate_errors,
            live_errors=self._live_errors,
            worst_distance=self._worst_distance,
            tolerance=TOLERANCE,
            live_ms={name: value for name, value in live.items() if value is not None},
            candidate_ms={name: value for name, value in candidate.items() if value is not None},
            worst=tuple(one for *_, one in sorted(self._worst, key=lambda w: w[:3], reverse=True)),
            since_s=self._since_s,
            cut_s=cut_s,
        )

    def _pair(self, live: Prediction, copy: Prediction) -> None:
        if live.features_ref or copy.features_ref:  # a body that was not kept cannot be compared
            self._unpaired += 1
            return
        self._pairs += 1
        self._since_s = live.occurred_at if self._since_s is None else self._since_s
        for latency, event in zip(self._latency, (live, copy), strict=True):
            if event.latency_ms is not None:
                latency.add(event.latency_ms)
        verdict = self._judge(live, copy)
        if verdict.distance is not None:
            self._worst_distance = max(self._worst_distance or 0.0, verdict.distance)
        self._labels += verdict.label
        if verdict.kind:
            self._disagreements += 1
            self._show(live, copy, verdict)

    def _judge(self, live: Prediction, copy: Prediction) -> Verdict:
        if isinstance(live.output, dict) and isinstance(copy.output, dict):
            return compare(live.output, copy.output)
        if isinstance(live.output, dict):
            self._candidate_errors += 1
            return Verdict(kind="error")
        self._live_errors += isinstance(copy.output, dict)
        return Verdict()

    def _show(self, live: Prediction, copy: Prediction, verdict: Verdict) -> None:
        shown = Disagreement(
            request_id=live.request_id,
            at_s=live.occurred_at,
            kind=verdict.kind,
            output=verdict.output,
            distance=verdict.distance,
            inputs=live.features,
            live=live.output,
            candidate=copy.output,
        )
        weight = float("inf") if verdict.kind == "error" else verdict.distance or 0.0
        heapq.heappush(self._worst, (weight, live.occurred_at, self._disagreements, shown))
        if len(self._worst) > _SHOWN:
            heapq.heappop(self._worst)

    def _tidy(self, now_s: float) -> None:
        """Give up on halves whose other one did not come; live ones are most often not mirrored."""
        for waiting in (self._live, self._copies):
            while waiting:
                first = next(iter(waiting.values()))
                if len(waiting) <= _WAITING and now_s - first.occurred_at < _PATIENCE_S:
                    break
                waiting.popitem(last=False)
                self._unpaired += waiting is self._copies


def _compare_output(name: str, live: Any, candidate: Any) -> Verdict:
    one, other = np.array(live, dtype=object), np.array(candidate, dtype=object)
    if one.shape != other.shape:
        return Verdict(kind="shape", output=name)
    if not all(isinstance(value, float) or value is None for value in (*one.flat, *other.flat)):
        differs = bool((one != other).any())
        return Verdict(kind="label" if differs else "", output=name, label=differs)
    left, right = one.astype(np.float64), other.astype(np.float64)  # null, what is not finite: NaN
    if (np.isnan(left) != np.isnan(right)).any():
        return Verdict(kind="distance", output=name)
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    distance = float(np.abs(left - right).max(initial=0.0))
    if left.ndim > 1 and left.shape[-1] > 1:
        label = bool((left.argmax(axis=-1) != right.argmax(axis=-1)).any())
        return Verdict(kind="label" if label else "", output=name, distance=distance, label=label)
    beyond = np.abs(left - right) > TOLERANCE * np.maximum(np.abs(left), 1.0)
    return Verdict(kind="distance" if beyond.any() else "", output=name, distance=distance)
