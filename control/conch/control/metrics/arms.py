"""One arm of a release as Triton and Envoy count it: for reading, not for deciding.

Triton counts per model and version, which is an arm exactly. Envoy's histogram is that of a slot,
which other models share.
"""

from __future__ import annotations

from dataclasses import dataclass

from conch.core import Ordinal, SlotName, TritonName

from .readings import Reading, Trouble, increase, quantile
from .series import Selector, SeriesSource, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReadings:
    """One arm over a window.

    Attributes:
        requests_per_s: Requests that the version answered or failed.
        failure_share: Share of them that it failed.
        mean_ms: Mean time in the server, queue included.
        queue_ms: Mean time in the queue: how batching differs between arms.
        slot_p50_ms: Median time of all requests to the slot as the gateway saw it.
        slot_p99_ms: Its 99th percentile.
    """

    requests_per_s: Reading
    failure_share: Reading
    mean_ms: Reading
    queue_ms: Reading
    slot_p50_ms: Reading
    slot_p99_ms: Reading


def read_arm(
    source: SeriesSource, model: TritonName, ordinal: Ordinal, slot: SlotName, window: Window
) -> ArmReadings:
    """Return what an arm did in a window; each number has its own reason where there is none."""
    labels = {"model": model, "version": str(ordinal), "slot": slot}

    def grown(name: str) -> Reading:
        return increase(source, Selector(name=name, labels=labels), window)

    good, bad = grown("nv_inference_request_success"), grown("nv_inference_request_failure")
    total = _sum(good, bad)
    times = Selector(
        name="envoy_cluster_upstream_rq_time", labels={"envoy_cluster_name": f"slot-{slot}--http"}
    )
    return ArmReadings(
        requests_per_s=_per(total, total.covered_s),
        failure_share=_ratio(bad, total),
        mean_ms=_ratio(grown("nv_inference_request_duration_us"), good, scale=1e-3),
        queue_ms=_ratio(grown("nv_inference_queue_duration_us"), good, scale=1e-3),
        slot_p50_ms=quantile(source, times, 0.5, window),
        slot_p99_ms=quantile(source, times, 0.99, window),
    )


def _sum(one: Reading, other: Reading) -> Reading:
    if one.value is None or other.value is None:
        return one if one.value is None else other
    covered = min(one.covered_s, other.covered_s)
    return Reading(value=one.value + other.value, covered_s=covered)


def _per(reading: Reading, seconds: float) -> Reading:
    if reading.value is None:
        return reading
    return Reading(value=reading.value / seconds, covered_s=reading.covered_s)


def _ratio(part: Reading, whole: Reading, *, scale: float = 1.0) -> Reading:
    if part.value is None or whole.value is None:
        return part if part.value is None else whole
    if whole.value <= 0:
        return Reading(
            value=None, trouble=Trouble.EMPTY, because="No request was counted in the window."
        )
    return Reading(value=scale * part.value / whole.value, covered_s=whole.covered_s)
