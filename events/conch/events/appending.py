"""One writer's durable writes: recovery at open, then groups of appends under one fsync each.

Nothing here waits or locks; `conch.events.log` runs it on a thread of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .coding import encode
from .disks import NO_ROOM, Disk, sync_directory
from .disks import write_all as write_bytes
from .errors import DiskFullError, EventError, EventTooLargeError, LogFailedError, LogFullError
from .frames import RecordType, pack_frame, pack_record
from .kinds import Event
from .retention import LogSettings, plan_retention
from .segments import create_segment, list_segments, scan_segment
from .views import Place, View, read_records
from .windows import IdWindow, event_key

_READ_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A named position that becomes durable in the same write as the events beside it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One append, encoded: stored whole or not at all.

    Attributes:
        records: Key and record bytes of each event.
        cursor: The cursor to set with it, as a record; empty for none.
        cursor_set: The same, readable.
        size_bytes: Bytes of all records.
    """

    records: tuple[tuple[bytes, bytes], ...]
    cursor: bytes
    cursor_set: Cursor | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The answer to an append, given only after its events are durable.

    Attributes:
        offsets: The offset of each event in the order given; of a repeated id, that of the first.
        repeated: Whether each event's id was known, so that nothing was stored for it.
    """

    offsets: tuple[int, ...]
    repeated: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReport:
    """What opening a log found.

    Attributes:
        first_offset: The oldest event kept.
        next_offset: The offset that the next event gets.
        segments: How many segment files there are.
        cut_bytes: Bytes cut off the end: a write that a crash tore and nobody was told about.
        cut_segment: The file they were cut from; None when nothing was cut.
        window: How many event ids are known.
    """

    first_offset: int
    next_offset: int
    segments: int
    cut_bytes: int
    cut_segment: Path | None
    window: int


def encode_batch(events: Sequence[Event], cursor: Cursor | None, *, largest: int) -> Batch:
    """Encode one append.

    Raises:
        InvalidEventError: An event holds what JSON cannot carry.
        EventTooLargeError: It is larger than one durable write may be.
    """
    records = []
    for event in events:
        key = event_key(event)
        records.append((key, pack_record(RecordType.EVENT, key, encode(event))))
    mark = b""
    if cursor is not None:
        mark = pack_record(RecordType.CURSOR, cursor.name.encode(), cursor.value.encode())
    size = sum(len(record) for _, record in records) + len(mark)
    if size > largest:
        raise EventTooLargeError(
            f"An append of {len(records)} events takes {size} bytes; the log takes {largest}.",
            hint="Append fewer at a time, or keep large features outside and send a reference.",
            size_bytes=size,
        )
    return Batch(records=tuple(records), cursor=mark, cursor_set=cursor, size_bytes=size)


class Appender:
    """The writing end of one log directory. Not safe for use by two threads.

    Any failure of write or fsync that is not "no room" is final: what the kernel holds of the file
    is then unknown, and a later fsync that succeeds would prove nothing. So the write is cut off,
    everything after it is refused, and only opening the log again, which reads what is there, goes
    on.
    """

    def __init__(
        self, directory: Path, *, settings: LogSettings, clock: Callable[[], float], disk: Disk
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._disk = disk
        self._failure: OSError | None = None
        self._cursors: dict[str, str] = {}
        self._window = IdWindow(settings.window_events)
        for leftover in directory.glob("*.seg.tmp"):
            leftover.unlink()
        self._segments = list(list_segments(directory))
        self._fd = -1
        self._next_offset = 0
        cut_bytes = 0
        if self._segments:
            cut_bytes = self._recover()
        else:
            self._begin()
        self._fill_window()
        self.report = OpenReport(
            first_offset=self._segments[0].first_offset,
            next_offset=self._next_offset,
            segments=len(self._segments),
            cut_bytes=cut_bytes,
            cut_segment=self._segments[-1].path if cut_bytes else None,
            window=len(self._window),
        )

    @property
    def view(self) -> View:
        """Everything durable, as a value."""
        return View(segments=tuple(self._segments), next_offset=self._next_offset)

    @property
    def cursors(self) -> Mapping[str, str]:
        """All cursors as of the last durable write, as a copy."""
        return dict(self._cursors)

    @property
    def failed(self) -> bool:
        """Whether the disk failed, so that nothing more is taken."""
        return self._failure is not None

    def commit(self, batches: Sequence[Batch], *, held_from: int | None) -> list[Appended]:
        """Store a group of appends with one fsync and return their answers.

        Raises:
            LogFullError: The log's size allows no more; nothing was stored.
            DiskFullError: The file system has no room; nothing was stored.
            LogFailedError: The disk failed, now or before.
        """
        self._check_working()
        fresh: dict[bytes, int] = {}
        answers, payload = [], []
        for batch in batches:
            offsets, repeated = [], []
            for key, record in batch.records:
                known = fresh.get(key)
                known = self._window.find(key) if known is None else known
                if known is None:
                    known = fresh[key] = self._next_offset + len(fresh)
                    payload.append(record)
                    repeated.append(False)
                else:
                    repeated.append(True)
                offsets.append(known)
            if batch.cursor:
                payload.append(batch.cursor)
            answers.append(Appended(offsets=tuple(offsets), repeated=tuple(repeated)))
        if payload:
            self._store(
                pack_frame(self._next_offset, len(fresh), b"".join(payload)), held_from=held_from
            )
            for key, offset in fresh.items():
                self._window.add(key, offset)
            self._next_offset += len(fresh)
            for batch in batches:
                if batch.cursor_set is not None:
                    self._cursors[batch.cursor_set.name] = batch.cursor_set.value
        return answers

    def roll(self) -> None:
        """Seal the open segment and begin the next; does nothing while it holds no event.

        Raises:
            DiskFullError: The file system has no room; the open segment stays open.
            LogFailedError: The disk failed, now or before.
        """
        self._check_working()
        if self._segments[-1].first_offset < self._next_offset:
            self._begin()

    def drop_old(self, *, held_from: int | None) -> None:
        """Drop the segments that age or size no longer allow."""
        self._make_room(0, held_from=held_from)

    def close(self) -> None:
        """Close the file; everything answered is durable already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _store(self, frame: bytes, *, held_from: int | None) -> None:
        if self._segments[-1].length >= self._settings.segment_bytes:
            self._begin()
        if not self._make_room(len(frame), held_from=held_from):
            raise LogFullError(
                f"The event log {self._directory} has reached {self._settings.max_bytes} bytes.",
                hint="Compact and drop old segments, or allow it more bytes.",
                max_bytes=self._settings.max_bytes,
            )
        last = self._segments[-1]
        try:
            write_bytes(self._disk, self._fd, frame)
        except OSError as error:
            self._undo(last.length)
            raise self._refusal(error) from error
        try:
            self._disk.sync(self._fd)
        except OSError as error:
            self._undo(last.length)
            raise self._fail(error) from error
        self._segments[-1] = replace(last, length=last.length + len(frame))

    def _make_room(self, incoming_bytes: int, *, held_from: int | None) -> bool:
        plan = plan_retention(
            self._segments,
            self._settings,
            now=self._clock(),
            incoming_bytes=incoming_bytes,
            held_from=held_from,
        )
        for segment in plan.drop:  # one by one, oldest first: a crash in between leaves no hole
            try:
                segment.path.unlink(missing_ok=True)
                sync_directory(self._disk, self._directory)
            except OSError as error:
                raise self._refusal(error) from error
            self._segments.remove(segment)
        return plan.fits

    def _undo(self, length: int) -> None:
        """Cut off what a failed write left, so that a retry does not take it for stored."""
        try:
            self._disk.truncate(self._fd, length)
        except OSError as error:
            raise self._fail(error) from error

    def _refusal(self, error: OSError) -> EventError:
        if error.errno in NO_ROOM:
            return DiskFullError(
                f"There is no room for the event log {self._directory}: {error.strerror}.",
                hint="Free space and retry under the same event ids.",
            )
        return self._fail(error)

    def _fail(self, error: OSError) -> LogFailedError:
        """Take nothing more, and return the error that says so."""
        self._failure = error
        return LogFailedError(
            f"The event log {self._directory} failed: {error}.",
            hint="Check the disk, then open the log again; retry under the same event ids.",
        )

    def _check_working(self) -> None:
        if self._failure is not None:
            raise self._fail(self._failure) from self._failure

    def _begin(self) -> None:
        """Begin a segment; it takes the place of the last one if that holds cursors only."""
        try:
            segment, fd = create_segment(
                self._disk,
                self._directory,
                first_offset=self._next_offset,
                created_at=self._clock(),
                cursors=self._cursors,
            )
        except OSError as error:
            raise self._refusal(error) from error
        self.close()
        self._fd = fd
        if self._segments and self._segments[-1].path == segment.path:
            self._segments.pop()
        self._segments.append(segment)

    def _recover(self) -> int:
        """Take up the last segment: cut a torn end, make the rest durable; return bytes cut."""
        last = self._segments[-1]
        scan = scan_segment(last)
        self._fd = os.open(last.path, os.O_RDWR | os.O_APPEND)
        if scan.torn_bytes:
            self._disk.truncate(self._fd, scan.end)
        # Whole frames may sit in the page cache only, written by a killed process.
        self._disk.sync(self._fd)
        sync_directory(self._disk, self._directory)
        self._segments[-1] = replace(last, length=scan.end)
        self._next_offset = scan.next_offset
        self._cursors = dict(scan.cursors)
        return scan.torn_bytes

    def _fill_window(self) -> None:
        view, places = self.view, dict[int, Place]()
        offset = max(view.first_offset, self._next_offset - self._settings.window_events)
        while offset < self._next_offset:
            records, place = read_records(view, offset, limit=_READ_EVENTS, places=places)
            for at, record in records:
                self._window.add(record.name, at)
            offset = records[-1][0] + 1
            places = {offset: place} if place else {}
