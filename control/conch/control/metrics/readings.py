"""What a window of counters says: a number, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from .series import (
    ClocksDisagreeError,
    Sample,
    Selector,
    SeriesSource,
    SeriesUnavailableError,
    Track,
    Window,
)


class Trouble(StrEnum):
    """Why a reading has no value."""

    UNAVAILABLE = "unavailable"
    """Whoever keeps the series does not answer."""

    SKEW = "clocks-disagree"
    """Samples from the future, or out of order."""

    ABSENT = "absent"
    """There is no such series."""

    STALE = "stale"
    """Its newest sample is too old."""

    GAP = "gap"
    """Samples are missing within the window, or at its beginning."""

    RESET = "counter-reset"
    """The counter fell: its server began anew, and what it counted in between is lost."""

    EMPTY = "nothing-counted"
    """Everything is there, and nothing happened: a quantile of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a window says.

    Attributes:
        value: The number; None where there is `trouble`.
        covered_s: Time between the first and the last sample that it rests on.
        trouble: Why there is no number.
        because: The same in a sentence.
    """

    value: float | None
    covered_s: float = 0.0
    trouble: Trouble | None = None
    because: str = ""


def increase(source: SeriesSource, selector: Selector, window: Window) -> Reading:
    """Return by how much counters grew between the window's first and last sample.

    Several series add up; trouble with one of them is trouble with the sum.
    """
    tracks, trouble = _sound(source, selector, window)
    if trouble:
        return trouble
    return Reading(
        value=sum(track.samples[-1].value - track.samples[0].value for track in tracks),
        covered_s=_covered(tracks),
    )


def quantile(source: SeriesSource, selector: Selector, level: float, window: Window) -> Reading:
    """Return a quantile of a histogram's observations within the window.

    Linear within a bucket, as Prometheus's `histogram_quantile`; the last bucket, which has no
    end, answers with its beginning.

    Args:
        source: Where samples come from.
        selector: The histogram, without the `_bucket` of its series.
        level: The quantile, such as 0.99.
        window: The window.
    """
    buckets = Selector(name=f"{selector.name}_bucket", labels=selector.labels)
    tracks, trouble = _sound(source, buckets, window)
    if trouble:
        return trouble
    counts: dict[float, float] = {}
    for track in tracks:
        end = float(track.labels.get("le", "inf"))
        grown = track.samples[-1].value - track.samples[0].value
        counts[end] = counts.get(end, 0.0) + grown
    ends = sorted(counts)
    total = counts[ends[-1]]
    if total <= 0 or not math.isinf(ends[-1]):
        return _none(Trouble.EMPTY, f"{selector} counted nothing in {window.length_s:g} s.")
    rank, before, start = level * total, 0.0, 0.0
    for end in ends:
        if counts[end] >= rank:
            break
        before, start = counts[end], end
    value = (
        start
        if math.isinf(end)
        else start + (end - start) * (rank - before) / (counts[end] - before)
    )
    return Reading(value=value, covered_s=_covered(tracks))


def _sound(
    source: SeriesSource, selector: Selector, window: Window
) -> tuple[tuple[Track, ...], Reading | None]:
    """Return the matching series, and the first trouble with any of them."""
    try:
        tracks = source.tracks(selector, window)
    except SeriesUnavailableError as error:
        return (), _none(Trouble.UNAVAILABLE, error.message)
    except ClocksDisagreeError as error:
        return (), _none(Trouble.SKEW, error.message)
    if not tracks:
        return (), _none(
            Trouble.ABSENT, f"There was no {selector} in the last {window.length_s:g} s."
        )
    for track in tracks:
        if trouble := _trouble(track.samples, window):
            return (), _none(trouble[0], f"{selector}: {trouble[1]}.")
    return tracks, None


def _trouble(samples: Sequence[Sample], window: Window) -> tuple[Trouble, str] | None:
    first, last = samples[0], samples[-1]
    if any(later.at_s <= earlier.at_s for earlier, later in pairwise(samples)):
        return Trouble.SKEW, "its samples are not in the order of time"
    if last.at_s > window.now_s + window.every_s:
        return (
            Trouble.SKEW,
            f"its newest sample lies {last.at_s - window.now_s:.1f} s in the future",
        )
    if window.now_s - last.at_s > window.longest_gap_s:
        return Trouble.STALE, f"its newest sample is {window.now_s - last.at_s:.1f} s old"
    if first.at_s - window.start_s > window.longest_gap_s:
        missing = first.at_s - window.start_s
        return Trouble.GAP, f"the first {missing:.1f} s of the window have no sample"
    for earlier, later in pairwise(samples):
        if later.at_s - earlier.at_s > window.longest_gap_s or not math.isfinite(later.value):
            return Trouble.GAP, f"it has a gap of {later.at_s - earlier.at_s:.1f} s"
    for earlier, later in pairwise(samples):
        if later.value < earlier.value:
            return (
                Trouble.RESET,
                f"the counter fell from {earlier.value:g} to {later.value:g}: it began anew",
            )
    if len(samples) < 2:
        return Trouble.GAP, "it has one sample only, and growth needs two"
    return None


def _none(trouble: Trouble, because: str) -> Reading:
    return Reading(value=None, trouble=trouble, because=because)


def _covered(tracks: Sequence[Track]) -> float:
    return min(track.samples[-1].at_s - track.samples[0].at_s for track in tracks)
