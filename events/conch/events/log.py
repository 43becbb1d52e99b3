"""The event log: durable, idempotent, read from any offset; one writer for each directory."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .appending import Appended, Appender, Batch, Cursor, OpenReport, encode_batch
from .coding import decode
from .disks import Disk, PosixDisk, make_directory
from .errors import AppendTimeoutError, LogBusyError, LogClosedError, LogLockedError
from .kinds import Event
from .retention import LogSettings
from .segments import Segment
from .views import Place, StoredEvent, View, read_records

_REMEMBERED_PLACES: Final = 64
_GROUP_EVENTS: Final = 10_000


class EventLog:
    """One directory of events.

    `append` returns after its events are durable. Appends that arrive while the disk is busy share
    the next fsync, so throughput grows with the number of callers. All methods may be called from
    any thread. `report` says what opening found.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: LogSettings | None = None,
        clock: Callable[[], float] = time.time,
        disk: Disk | None = None,
    ) -> None:
        """Open a log and recover it after a crash; the directory is made when missing.

        Args:
            directory: Where the segments lie.
            settings: Layout and bounds; None takes the defaults of `LogSettings`.
            clock: Unix seconds.
            disk: The file system; None takes the operating system's.

        Raises:
            LogLockedError: Another process has it open.
            LogCorruptError: Durable bytes are damaged.
        """
        disk = disk or PosixDisk()
        make_directory(disk, directory)
        self._settings = settings or LogSettings()
        self._lock_fd = _lock(directory)
        try:
            self._appender = Appender(directory, settings=self._settings, clock=clock, disk=disk)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self.directory = directory
        self.report: OpenReport = self._appender.report
        self._view = self._appender.view
        self._cursors = self._appender.cursors
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Batch, Future[Appended]]] = deque()
        self._waiting_events = 0
        self._holds: dict[str, int] = {}
        self._places: dict[int, Place] = {}
        self._rolls: list[Future[None]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="event-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def first_offset(self) -> int:
        """The oldest offset that can be read."""
        return self._view.first_offset

    @property
    def next_offset(self) -> int:
        """The offset that the next event will get; everything below is durable."""
        return self._view.next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._view.size_bytes

    def append(
        self, events: Sequence[Event], *, cursor: Cursor | None = None, timeout_s: float = 30.0
    ) -> Appended:
        """Store events and return once they are durable: all of them or none.

        Args:
            events: May be empty when there is a cursor.
            cursor: A position to make durable in the same write.
            timeout_s: How long to wait for the disk.

        Raises:
            InvalidEventError: An event holds what JSON cannot carry.
            EventTooLargeError: The events do not fit into one durable write.
            LogBusyError: Too many events wait for the disk.
            LogFullError: The log's size allows no more.
            DiskFullError: The file system has no room.
            LogFailedError: The disk failed, now or before.
            LogClosedError: The log is closed.
            AppendTimeoutError: The disk did not answer in time; a retry is safe.
        """
        try:
            return self.submit(events, cursor=cursor).result(timeout_s)
        except TimeoutError as error:
            raise AppendTimeoutError(
                f"The event log {self.directory} did not answer within {timeout_s:g} s.",
                hint="Retry under the same event ids; what was stored is not stored again.",
            ) from error

    def submit(self, events: Sequence[Event], *, cursor: Cursor | None = None) -> Future[Appended]:
        """Queue events and return at once; the future resolves when they are durable.

        For callers on an event loop: `await asyncio.wrap_future(log.submit([event]))`.

        Raises:
            InvalidEventError: An event holds what JSON cannot carry.
            EventTooLargeError: The events do not fit into one durable write.
            LogBusyError: Too many events wait for the disk.
            LogClosedError: The log is closed.
        """
        batch = encode_batch(events, cursor, largest=self._settings.group_bytes)
        answer: Future[Appended] = Future()
        with self._changed:
            self._check_open()
            if self._waiting_events + len(events) > self._settings.max_waiting and self._waiting:
                raise LogBusyError(
                    f"{self._waiting_events} events wait for the disk of {self.directory}.",
                    hint="Slow down and retry under the same event ids.",
                )
            self._waiting.append((batch, answer))
            self._waiting_events += len(events)
            self._changed.notify_all()
        return answer

    def read(self, from_offset: int, *, limit: int = 1000) -> tuple[StoredEvent, ...]:
        """Return up to `limit` durable events from an offset on; empty at the end of the log.

        To follow, read again from the last offset plus one, and `wait` when nothing comes.

        Raises:
            OffsetGoneError: Retention has dropped the offset.
            LogCorruptError: A frame does not match its checksum, or a segment is missing.
        """
        records, place = read_records(self._view, from_offset, limit=limit, places=self._places)
        if records and place is not None:
            self._remember(records[-1][0] + 1, place)
        return tuple(StoredEvent(offset=at, event=decode(record.body)) for at, record in records)

    def wait(self, offset: int, *, timeout_s: float) -> bool:
        """Wait until the event at an offset is durable; tell whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self.next_offset > offset or self._closing, timeout_s)
            return self.next_offset > offset

    def cursor(self, name: str) -> str | None:
        """Return a cursor's durable value; None when it was never set."""
        return self._cursors.get(name)

    def hold(self, name: str, from_offset: int) -> None:
        """Keep events at or after an offset from being dropped, until the hold moves on.

        A hold lives as long as this object: whoever needs it sets it again after a restart. While
        holds leave nothing to drop, a full log refuses appends.
        """
        with self._changed:
            self._holds[name] = from_offset

    def sealed(self) -> tuple[tuple[Segment, int], ...]:
        """Return the sealed segments, oldest first, each with the offset after its last event."""
        segments = self._view.segments
        return tuple((segment, following.first_offset) for segment, following in pairwise(segments))

    def seal(self, *, timeout_s: float = 30.0) -> None:
        """Seal the open segment so that it can be compacted, and drop what is too old.

        Raises:
            DiskFullError: The file system has no room.
            LogFailedError: The disk failed, now or before.
            LogClosedError: The log is closed.
        """
        answer: Future[None] = Future()
        with self._changed:
            self._check_open()
            self._rolls.append(answer)
            self._changed.notify_all()
        answer.result(timeout_s)

    def close(self) -> None:
        """Store what was submitted, then release the directory. Closing twice does nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            if self._lock_fd >= 0:
                self._appender.close()
                os.close(self._lock_fd)
                self._lock_fd = -1

    def _check_open(self) -> None:
        if self._closing:
            raise LogClosedError(f"The event log {self.directory} is closed.")

    def _remember(self, offset: int, place: Place) -> None:
        with self._changed:
            self._places = {**self._places, offset: place}
            while len(self._places) > _REMEMBERED_PLACES:
                del self._places[next(iter(self._places))]

    def _write(self) -> None:
        """Serve until closed and empty: take what waits, store it, answer."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._rolls or self._closing)
                if not self._waiting and not self._rolls:
                    return
                group = self._take_group()
                rolls, self._rolls = self._rolls, []
                held_from = min(self._holds.values(), default=None)
            if group:
                self._commit(group, held_from)
            for answer in rolls:
                self._roll(answer, held_from)

    def _take_group(self) -> list[tuple[Batch, Future[Appended]]]:
        group: list[tuple[Batch, Future[Appended]]] = []
        size = events = 0
        while self._waiting and events < _GROUP_EVENTS:
            batch = self._waiting[0][0]
            if group and size + batch.size_bytes > self._settings.group_bytes:
                break
            batch, answer = self._waiting.popleft()
            self._waiting_events -= len(batch.records)
            if answer.set_running_or_notify_cancel():  # from here on it cannot be cancelled
                group.append((batch, answer))
                size += batch.size_bytes
                events += len(batch.records)
        return group

    def _commit(self, group: list[tuple[Batch, Future[Appended]]], held_from: int | None) -> None:
        try:
            answers = self._appender.commit([batch for batch, _ in group], held_from=held_from)
        except Exception as error:  # whatever it is, the callers must hear of it
            self._publish()
            for _, future in group:
                future.set_exception(error)
            return
        self._publish()
        for (_, future), answer in zip(group, answers, strict=True):
            future.set_result(answer)

    def _roll(self, answer: Future[None], held_from: int | None) -> None:
        try:
            self._appender.roll()
            self._appender.drop_old(held_from=held_from)
        except Exception as error:
            self._publish()
            answer.set_exception(error)
            return
        self._publish()
        answer.set_result(None)

    def _publish(self) -> None:
        view: View = self._appender.view
        with self._changed:
            self._view, self._cursors = view, self._appender.cursors
            self._changed.notify_all()


def _lock(directory: Path) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LogLockedError(
            f"The event log {directory} is open in another process.",
            hint="A log has one writer; send events to that process, or read beside it.",
        ) from error
    return fd
