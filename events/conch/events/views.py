"""What can be read of a log at one moment, and reading it; needs no lock and no writer."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .coding import decode
from .errors import OffsetGoneError
from .frames import Head, Record, RecordType, read_head, read_payload, unpack_records
from .kinds import Event
from .segments import Segment, damaged, list_segments, scan_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its place in the log."""

    offset: int
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A log at one moment.

    Attributes:
        segments: All segments, oldest first; the last one is open, its `length` is what is
            durable of it.
        next_offset: The offset that the next event will get.
    """

    segments: tuple[Segment, ...]
    next_offset: int

    @property
    def first_offset(self) -> int:
        """The oldest offset that can be read; equals `next_offset` in an empty log."""
        return self.segments[0].first_offset if self.segments else self.next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(segment.length for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an offset's frame begins; lets the next read go on without a walk."""

    segment_offset: int
    position: int


def view_directory(directory: Path) -> View:
    """Return what a directory holds, for a reader beside the writer.

    It may show the last events a moment before their writer is told that they are durable.

    Raises:
        LogCorruptError: A segment is damaged.
    """
    segments = list_segments(directory)
    if not segments:
        return View(segments=(), next_offset=0)
    scan = scan_segment(segments[-1])
    last = replace(segments[-1], length=scan.end)
    return View(segments=(*segments[:-1], last), next_offset=scan.next_offset)


class LogReader:
    """Reads a log beside the process that writes it: a dashboard, a notebook, a trainer.

    It sees the log as of its last `refresh`, which may show the newest events a moment before
    their sender is told that they are durable. Not safe for use by two threads.
    """

    def __init__(self, directory: Path) -> None:
        """Look at a directory.

        Raises:
            LogCorruptError: A segment is damaged.
        """
        self._directory = directory
        self._places: dict[int, Place] = {}
        self._view = view_directory(directory)

    @property
    def first_offset(self) -> int:
        """The oldest offset that can be read."""
        return self._view.first_offset

    @property
    def next_offset(self) -> int:
        """The offset after the newest event seen."""
        return self._view.next_offset

    def refresh(self) -> None:
        """Look at the directory again.

        Raises:
            LogCorruptError: A segment is damaged.
        """
        self._view = view_directory(self._directory)

    def read(self, from_offset: int, *, limit: int = 1000) -> tuple[StoredEvent, ...]:
        """Return up to `limit` events from an offset on, in order.

        Raises:
            OffsetGoneError: Retention has dropped the offset.
            LogCorruptError: A frame does not match its checksum, or a segment is missing.
            UnknownSchemaError: An event was written by a later release.
        """
        records, place = read_records(self._view, from_offset, limit=limit, places=self._places)
        self._places = {records[-1][0] + 1: place} if records and place else {}
        return tuple(StoredEvent(offset=at, event=decode(record.body)) for at, record in records)


def read_records(
    view: View, from_offset: int, *, limit: int, places: Mapping[int, Place]
) -> tuple[list[tuple[int, Record]], Place | None]:
    """Return up to `limit` event records from an offset on, and where the last one's frame is.

    Args:
        view: What may be read.
        from_offset: Offset of the first event wanted.
        limit: The most events to return.
        places: Known places of frames by the offset to read from.

    Raises:
        OffsetGoneError: Retention has dropped the offset.
        LogCorruptError: A frame does not match its checksum, or a segment is missing.
    """
    check_kept(view, from_offset)
    found: list[tuple[int, Record]] = []
    place: Place | None = None
    for segment, end_offset, position in _segments_from(view, from_offset, places):
        try:
            fd = os.open(segment.path, os.O_RDONLY)
        except FileNotFoundError as error:  # retention took it after the view was made
            raise gone(from_offset, end_offset) from error
        try:
            for head, payload in _frames(fd, segment, end_offset, position, from_offset):
                place = Place(segment_offset=segment.first_offset, position=head.position)
                events = (r for r in unpack_records(payload) if r.type == RecordType.EVENT)
                for offset, record in enumerate(events, head.first_offset):
                    if offset >= from_offset:
                        found.append((offset, record))
                    if len(found) >= limit:
                        return found, place
        finally:
            os.close(fd)
    return found, place


def check_kept(view: View, offset: int) -> None:
    """Raise when an offset is no longer in the log.

    Raises:
        OffsetGoneError: Retention has dropped it.
    """
    if offset < view.first_offset:
        raise gone(offset, view.first_offset)


def gone(offset: int, first: int) -> OffsetGoneError:
    """Return the error for an offset that retention has dropped."""
    return OffsetGoneError(
        f"Offset {offset} is gone from the event log; the oldest kept is {first}.",
        hint="Read from the oldest, or query the compacted files.",
        offset=offset,
        first=first,
    )


def _segments_from(
    view: View, from_offset: int, places: Mapping[int, Place]
) -> Iterator[tuple[Segment, int, int]]:
    """Yield segments from the one with the offset on: segment, its end offset, where to begin."""
    if from_offset >= view.next_offset:
        return
    starts = [segment.first_offset for segment in view.segments]
    first = bisect_right(starts, from_offset) - 1
    ends = [*starts[1:], view.next_offset]
    for index in range(first, len(starts)):
        place = places.get(from_offset) if index == first else None
        known = place is not None and place.segment_offset == starts[index]
        yield view.segments[index], ends[index], place.position if place and known else 0


def _frames(
    fd: int, segment: Segment, end_offset: int, position: int, from_offset: int
) -> Iterator[tuple[Head, bytes]]:
    """Yield the frames of a segment that hold an event at or after an offset."""
    next_offset = segment.first_offset
    while position < segment.length:
        head = read_head(fd, position, segment.length)
        if head is None:
            raise damaged(segment, position, "no frame begins there")
        if head.first_offset + head.events > from_offset:
            payload = read_payload(fd, head)
            if payload is None:
                raise damaged(segment, position, "a frame does not match its checksum")
            yield head, payload
        position, next_offset = head.end, head.first_offset + head.events
    if next_offset != end_offset:
        raise damaged(segment, position, f"it ends at offset {next_offset}, not {end_offset}")
