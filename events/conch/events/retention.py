"""Which segments a log may keep: bounded by size and age, decided from values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from conch.core import InvalidValueError

from .segments import Segment


class WhenFull(StrEnum):
    """What happens to an append that would take the log over its size."""

    DROP_OLDEST = "drop-oldest"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a log is laid out and bounded.

    Attributes:
        segment_bytes: A segment at least this large is sealed; compaction and retention work on
            whole sealed segments.
        max_bytes: The most bytes that all segments take together.
        max_age_s: A segment sealed longer ago than this is dropped; None keeps all.
        when_full: Whether reaching `max_bytes` drops the oldest sealed segment or refuses.
        window_events: Events whose ids are known (see `IdWindow`).
        group_bytes: The most bytes that one fsync covers; the largest single append.
        max_waiting: The most events that may wait for the disk before appends are refused.
    """

    segment_bytes: int = 64 * 1024 * 1024
    max_bytes: int = 4 * 1024 * 1024 * 1024
    max_age_s: float | None = None
    when_full: WhenFull = WhenFull.DROP_OLDEST
    window_events: int = 200_000
    group_bytes: int = 8 * 1024 * 1024
    max_waiting: int = 100_000

    def __post_init__(self) -> None:
        for name in ("segment_bytes", "group_bytes", "max_waiting"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"The log's {name} is {getattr(self, name)}, below 1.")
        if self.window_events < 0:
            raise InvalidValueError(f"The log's window_events is {self.window_events}, below 0.")
        if self.max_bytes < 2 * self.segment_bytes:
            raise InvalidValueError(
                f"The log's max_bytes is {self.max_bytes}, less than two segments.",
                hint="Only sealed segments can be dropped: allow for two or more.",
            )
        if self.group_bytes > 32 * 1024 * 1024:
            raise InvalidValueError(f"The log's group_bytes is {self.group_bytes}, above 32 MiB.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """What to do before an append.

    Attributes:
        drop: Segments to drop, oldest first.
        fits: Whether the append fits after that.
    """

    drop: tuple[Segment, ...]
    fits: bool


def plan_retention(
    segments: Sequence[Segment],
    settings: LogSettings,
    *,
    now: float,
    incoming_bytes: int,
    held_from: int | None,
) -> RetentionPlan:
    """Decide what an append of `incoming_bytes` drops, and whether it fits.

    The open segment (the last) is never dropped, nor one with an offset that a consumer holds.
    Age is taken first; size then drops the oldest while the log would be too large, if the
    settings say so.

    Args:
        segments: All segments, oldest first.
        settings: The bounds.
        now: Unix seconds.
        incoming_bytes: What is about to be written.
        held_from: The lowest offset that a consumer still needs; None when nobody does.
    """
    drop: list[Segment] = []
    size = sum(segment.length for segment in segments) + incoming_bytes
    for segment, following in pairwise(segments):
        if held_from is not None and following.first_offset > held_from:
            break
        sealed_for_s = now - following.created_at
        too_old = settings.max_age_s is not None and sealed_for_s > settings.max_age_s
        too_large = settings.when_full is WhenFull.DROP_OLDEST and size > settings.max_bytes
        if not (too_old or too_large):
            break
        drop.append(segment)
        size -= segment.length
    return RetentionPlan(drop=tuple(drop), fits=size <= settings.max_bytes)
