"""The log: order, idempotency, cursors, groups, following, closing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from event_makers import exposure
from hypothesis import given, settings
from hypothesis import strategies as st

from conch.events import (
    Appended,
    Cursor,
    EventLog,
    EventTooLargeError,
    LogBusyError,
    LogClosedError,
    LogLockedError,
    LogReader,
    LogSettings,
    Metric,
    OffsetGoneError,
)
from conch.events.disks import PosixDisk


class GatedDisk(PosixDisk):
    """A real disk whose fsync waits at a gate while the gate is shut; it counts fsyncs."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self.syncs = 0

    def sync(self, fd: int) -> None:
        """Wait for the gate, then flush."""
        self.arrived.release()
        assert self.gate.wait(60)
        self.syncs += 1
        super().sync(fd)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty log."""
    with EventLog(tmp_path) as log:
        yield log


def ids(log: EventLog | LogReader) -> list[str]:
    """Return the ids of all events, in order, read in small pieces."""
    found: list[str] = []
    at = log.first_offset
    while events := log.read(at, limit=7):
        assert [stored.offset for stored in events] == list(range(at, at + len(events)))
        found += [stored.event.event_id for stored in events]
        at = events[-1].offset + 1
    assert at == log.next_offset
    return found


def test_append_and_read(log: EventLog) -> None:
    """Events get consecutive offsets and are read back equal, from any offset."""
    events = [exposure(number) for number in range(20)]

    first = log.append(events[:5])
    second = log.append(events[5:])

    assert first.offsets == tuple(range(5))
    assert second.offsets == tuple(range(5, 20))
    assert not any(first.repeated + second.repeated)
    for start in range(20):
        assert [s.event for s in log.read(start, limit=3)] == events[start : start + 3]
    assert log.read(20) == ()
    assert log.read(99) == ()


def test_following_over_segments(log: EventLog) -> None:
    """Reads that end exactly where a segment ends go on in the next one."""
    for begin in range(0, 28, 7):
        log.append([exposure(number) for number in range(begin, begin + 7)])
        log.seal()

    assert ids(log) == [f"e{number}" for number in range(28)]


def test_directory_is_made(tmp_path: Path) -> None:
    """A log may be opened where not even the parents exist."""
    with EventLog(tmp_path / "a" / "b") as log:
        log.append([exposure(1)])
        assert log.directory.is_dir()


def test_repeated_ids(log: EventLog) -> None:
    """An id is stored once: in one append, across appends, and after reopening."""
    log.append([exposure(1), exposure(2)])

    again = log.append([exposure(2), exposure(3), exposure(3, slot="b"), exposure(1)])

    assert again.offsets == (1, 2, 2, 0)
    assert again.repeated == (True, False, True, True)
    log.close()
    with EventLog(log.directory) as reopened:
        assert reopened.report.window == 3
        assert reopened.append([exposure(3), exposure(4)]).repeated == (True, False)
        assert ids(reopened) == ["e1", "e2", "e3", "e4"]


def test_kinds_have_their_own_ids(log: EventLog) -> None:
    """Events of two kinds may share an id."""
    metric = Metric(
        event_id="e1", occurred_at=1, received_at=1, name="clicks", value=1, unit_hash="u"
    )

    assert log.append([exposure(1), metric]).repeated == (False, False)


def test_idempotency_window(tmp_path: Path) -> None:
    """The window is the last N events of the log, the same before and after reopening."""
    bounds = LogSettings(window_events=3)
    with EventLog(tmp_path, settings=bounds) as log:
        log.append([exposure(number) for number in range(5)])
        assert log.append([exposure(2)]).repeated == (True,)
    with EventLog(tmp_path, settings=bounds) as log:
        assert log.append([exposure(number) for number in (4, 3, 2)]).repeated == (True,) * 3
        assert log.append([exposure(1)]).offsets == (5,)  # left the window: taken as new
        assert log.append([exposure(2)]).offsets == (6,)  # pushed out by that


def test_cursor_with_events(tmp_path: Path) -> None:
    """A cursor is durable with its events and survives new segments and reopening."""
    with EventLog(tmp_path) as log:
        assert log.cursor("reader") is None
        log.append([exposure(1)], cursor=Cursor(name="reader", value="7"))
        log.append([], cursor=Cursor(name="other", value="é"))
        log.seal()
        log.append([exposure(2)])
        assert log.cursor("reader") == "7"
    with EventLog(tmp_path) as log:
        assert (log.cursor("reader"), log.cursor("other")) == ("7", "é")
        log.append([exposure(1)], cursor=Cursor(name="reader", value="8"))  # nothing but it is new
    with EventLog(tmp_path) as log:
        assert log.cursor("reader") == "8"
        assert ids(log) == ["e1", "e2"]


def test_cursors_alone_take_bounded_room(tmp_path: Path) -> None:
    """A reader that moves its cursor for ever without an event never grows the log."""
    bounds = LogSettings(segment_bytes=500)
    with EventLog(tmp_path, settings=bounds) as log:
        log.append([exposure(0)])
        for number in range(100):
            log.append([], cursor=Cursor(name="reader", value=f"{number}"))
            assert log.size_bytes < 1500
        log.append([exposure(1)])
        assert ids(log) == ["e0", "e1"]
    with EventLog(tmp_path) as log:
        assert log.cursor("reader") == "99"
        assert ids(log) == ["e0", "e1"]


def test_waiting_appends_share_one_fsync(tmp_path: Path) -> None:
    """However many appends arrive while the disk is busy, the next fsync covers them all."""
    disk = GatedDisk()
    with EventLog(tmp_path, disk=disk) as log:
        disk.gate.clear()
        while disk.arrived.acquire(blocking=False):
            pass
        first = log.submit([exposure(0)])
        assert disk.arrived.acquire(timeout=60)
        others = [log.submit([exposure(number)]) for number in range(1, 101)]
        before = disk.syncs
        assert not first.done()
        assert log.next_offset == 0  # not yet durable, so not yet readable

        disk.gate.set()

        assert [future.result(60).offsets for future in [first, *others]] == [
            (number,) for number in range(101)
        ]
        assert disk.syncs - before == 2


def test_many_threads(log: EventLog) -> None:
    """Appends from many threads are all stored, each thread's in its order."""

    def work(thread: int) -> None:
        for number in range(40):
            log.append([exposure(thread * 100 + number)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = [int(name[1:]) for name in ids(log)]
    assert sorted(found) == [t * 100 + n for t in range(12) for n in range(40)]
    for sender in range(12):
        own = [number for number in found if number // 100 == sender]
        assert own == sorted(own)


def test_full_queue_refuses(tmp_path: Path) -> None:
    """More waiting events than allowed are refused at once, and later taken."""
    disk = GatedDisk()
    with EventLog(tmp_path, disk=disk, settings=LogSettings(max_waiting=2)) as log:
        disk.gate.clear()
        while disk.arrived.acquire(blocking=False):
            pass
        taken = [log.submit([exposure(0)])]
        assert disk.arrived.acquire(timeout=60)
        taken += [log.submit([exposure(number)]) for number in (1, 2)]

        with pytest.raises(LogBusyError) as refused:
            log.submit([exposure(3)])

        assert refused.value.retryable
        disk.gate.set()
        assert [future.result(60).offsets for future in taken] == [(0,), (1,), (2,)]
        assert log.append([exposure(3)]).offsets == (3,)


def test_cancelled_append_is_not_stored(tmp_path: Path) -> None:
    """An append cancelled while it waits stores nothing and harms no other."""
    disk = GatedDisk()
    with EventLog(tmp_path, disk=disk) as log:
        disk.gate.clear()
        while disk.arrived.acquire(blocking=False):
            pass
        first = log.submit([exposure(0)])
        assert disk.arrived.acquire(timeout=60)
        second, third = log.submit([exposure(1)]), log.submit([exposure(2)])

        assert second.cancel()
        assert not first.cancel()  # already with the disk

        disk.gate.set()
        assert third.result(60).offsets == (1,)
        assert ids(log) == ["e0", "e2"]


def test_one_writer(log: EventLog) -> None:
    """A second writer is refused, in this process and in another, until the first closes."""
    log.append([exposure(1)])
    with pytest.raises(LogLockedError):
        EventLog(log.directory)
    code = (
        "import sys, pathlib, conch.events as e\n"
        "try: e.EventLog(pathlib.Path(sys.argv[1]))\n"
        "except e.LogLockedError as error: print(error.code)\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(log.directory)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == "event-log-locked"

    log.close()

    EventLog(log.directory).close()


def test_closing_stores_what_was_submitted(tmp_path: Path) -> None:
    """Closing answers every submitted append first; afterwards nothing is taken."""
    log = EventLog(tmp_path)
    futures: list[Future[Appended]] = [log.submit([exposure(number)]) for number in range(50)]

    log.close()
    log.close()

    assert [future.result(0).offsets for future in futures] == [(n,) for n in range(50)]
    with pytest.raises(LogClosedError):
        log.append([exposure(99)])
    with pytest.raises(LogClosedError):
        log.seal()


def test_waiting_for_events(log: EventLog) -> None:
    """A follower wakes when its offset is durable, and gives up in time when it is not."""
    woken: list[bool] = []
    follower = threading.Thread(target=lambda: woken.append(log.wait(1, timeout_s=60)))
    follower.start()

    log.append([exposure(0)])
    log.append([exposure(1)])
    follower.join()

    assert woken == [True]
    assert not log.wait(2, timeout_s=0)


def test_too_large(tmp_path: Path) -> None:
    """An append that does not fit one durable write is refused; the next is taken."""
    with EventLog(tmp_path, settings=LogSettings(group_bytes=2000)) as log:
        with pytest.raises(EventTooLargeError):
            log.append([exposure(number) for number in range(100)])
        futures = [log.submit([exposure(n), exposure(n + 50)]) for n in range(50)]  # many groups
        assert [future.result(60).offsets[0] for future in futures] == list(range(0, 100, 2))


def test_reader_beside_the_writer(log: EventLog) -> None:
    """A reader without the lock sees what is there at each refresh."""
    reader = LogReader(log.directory)
    assert ids(reader) == []
    log.append([exposure(number) for number in range(10)])
    log.seal()
    log.append([exposure(10)])
    assert ids(reader) == []

    reader.refresh()

    assert ids(reader) == [f"e{number}" for number in range(11)]


def test_core_needs_no_extra() -> None:
    """Importing the part and logging imports neither pyarrow nor duckdb."""
    code = (
        "import sys, tempfile, pathlib, conch.events as e\n"
        "e.EventLog(pathlib.Path(tempfile.mkdtemp())).close()\n"
        "print(sorted(m for m in ('pyarrow', 'duckdb') if m in sys.modules))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_forgotten_offset(tmp_path: Path) -> None:
    """An offset that retention dropped is an error with a code, not an empty answer."""
    bounds = LogSettings(segment_bytes=300, max_bytes=1200)
    with EventLog(tmp_path, settings=bounds) as log:
        for number in range(30):
            log.append([exposure(number)])
        assert log.first_offset > 0
        with pytest.raises(OffsetGoneError) as gone:
            log.read(0)
        assert gone.value.details["first"] == log.first_offset
        assert ids(log) == [f"e{number}" for number in range(log.first_offset, 30)]


operations = st.lists(
    st.one_of(
        st.lists(st.integers(0, 30), max_size=5),  # append events of these numbers
        st.sampled_from(["seal", "reopen"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(operations=operations, window=st.integers(0, 8))
def test_model(
    tmp_path_factory: pytest.TempPathFactory, operations: list[list[int] | str], window: int
) -> None:
    """Any run of appends, seals and reopenings equals a list with a window of known ids."""
    directory = tmp_path_factory.mktemp("log")
    bounds = LogSettings(window_events=window, segment_bytes=900)
    log = EventLog(directory, settings=bounds)
    expected: list[str] = []
    try:
        for operation in operations:
            if operation == "seal":
                log.seal()
            elif operation == "reopen":
                log.close()
                log = EventLog(directory, settings=bounds)
            elif isinstance(operation, list):
                known = expected[max(0, len(expected) - window) :]
                fresh = [f"e{n}" for n in dict.fromkeys(operation) if f"e{n}" not in known]
                appended = log.append([exposure(number) for number in operation])
                assert [o for o, again in _pairs(appended) if not again] == list(
                    range(len(expected), len(expected) + len(fresh))
                )
                expected += fresh
        assert ids(log) == expected
    finally:
        log.close()


def _pairs(appended: Appended) -> zip[tuple[int, bool]]:
    return zip(appended.offsets, appended.repeated, strict=True)
