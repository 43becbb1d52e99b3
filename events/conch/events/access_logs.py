"""Reading the data plane's access log into the event log, each line exactly once.

The position is a cursor of the event log: it becomes durable in the same write as the events of
the lines before it, so a crash can neither repeat a line nor leave one out.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import xxhash

from .access_lines import read_line
from .appending import Cursor
from .errors import InvalidEventError
from .kinds import Event
from .log import EventLog

_CHUNK_BYTES: Final = 1024 * 1024
_REMEMBERED_FILES: Final = 32
_COMPRESSED: Final = (".gz", ".zst", ".xz", ".bz2")


class LineReader(Protocol):
    """Makes an event of a line."""

    def __call__(self, line: bytes, *, received_at: float) -> Event | None:
        """Return the event, or None; raises `InvalidEventError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far one file has been read.

    Attributes:
        device: Its file system.
        inode: Its number there; numbers are given again after a deletion, so this alone is not
            trusted.
        offset: Bytes read; always just after a newline.
        line_at: Where the last line read begins.
        line_digest: xxh64 of that line: tells the same file from another with the same number,
            and finds it again in a copy.
    """

    device: int
    inode: int
    offset: int = 0
    line_at: int = 0
    line_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """What one poll read.

    Attributes:
        exposures: Lines that became events.
        skipped: Lines that tell of no inference by a known version.
        malformed: Lines that could not be read; the first is in `malformed_example`.
        malformed_example: Why the first of them could not be read; empty when none.
        files: How many files the log consists of now.
        whole_s: Up to when everything was read, Unix seconds, where the reader can tell; None: a
            file may lack what was not written to it yet.
    """

    exposures: int = 0
    skipped: int = 0
    malformed: int = 0
    malformed_example: str = ""
    files: int = 0
    whole_s: float | None = None


class AccessLogReader:
    """Reads one access log and its rotated predecessors.

    Rotation may rename the file (`access.log.1`, `access.log-20260101`) or copy and truncate it;
    several may happen between two polls. What must not happen is that a file is deleted or
    compressed before a poll has seen its end. A last line without newline is left for later.
    """

    def __init__(
        self,
        path: Path,
        log: EventLog,
        *,
        name: str = "access-log",
        read: LineReader = read_line,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take up reading where the event log says that it ended.

        Args:
            path: The access log.
            log: Where exposures go, and where the position is kept.
            name: Name of the position; one for each access log.
            read: Makes an event of a line, or None where it tells of none.
            clock: Unix seconds.
        """
        self._path = path
        self._log = log
        self._name = name
        self._read = read
        self._clock = clock

    def poll(self) -> PollReport:
        """Read every whole line that is there, oldest file first.

        Raises:
            EventError: As `EventLog.append`; what was read before stays read.
        """
        known = _positions(self._log.cursor(self._name))
        report = PollReport()
        with ExitStack() as opened:
            # A file stays open from here on: it may be renamed at any moment.
            current: dict[int, Position] = {}
            for path in self._files():
                with suppress(FileNotFoundError):
                    fd = opened.enter_context(_opened(path))
                    position = _recognised(fd, known)
                    if not any(_same_file(position, other) for other in current.values()):
                        current[fd] = position
            for fd in current:
                while (chunk := _whole_lines(fd, current[fd].offset)) != b"":
                    current[fd] = _after(current[fd], chunk)
                    positions = _merged(tuple(current.values()), known)
                    report = self._store(chunk, positions, report)
        return replace(report, files=len(current))

    def _files(self) -> list[Path]:
        """Return the log's files, oldest first; the one being written comes last."""
        names = self._path.name
        rotated = [
            path
            for path in self._path.parent.glob(f"{names}[.-]*")
            if path.is_file() and not path.name.endswith(_COMPRESSED)
        ]
        rotated.sort(key=lambda path: (_modified_ns(path), path.name))
        return [*rotated, self._path]

    def _store(
        self, chunk: bytes, positions: tuple[Position, ...], report: PollReport
    ) -> PollReport:
        events: list[Event] = []
        skipped = malformed = 0
        example = report.malformed_example
        now = self._clock()
        for line in chunk.removesuffix(b"\n").split(b"\n"):
            try:
                event = self._read(line, received_at=now)
            except InvalidEventError as error:
                malformed += 1
                example = example or error.message
                continue
            if event is None:
                skipped += 1
            else:
                events.append(event)
        value = json.dumps([asdict(position) for position in positions])
        self._log.append(events, cursor=Cursor(name=self._name, value=value))
        return replace(
            report,
            exposures=report.exposures + len(events),
            skipped=report.skipped + skipped,
            malformed=report.malformed + malformed,
            malformed_example=example,
        )


def _positions(value: str | None) -> tuple[Position, ...]:
    return () if value is None else tuple(Position(**item) for item in json.loads(value))


def _recognised(fd: int, known: tuple[Position, ...]) -> Position:
    """Return the position in an open file: as known, as known of what it is a copy of, or 0."""
    status = os.fstat(fd)
    here = Position(device=status.st_dev, inode=status.st_ino)
    same = [p for p in known if (p.device, p.inode) == (here.device, here.inode)]
    for position in [*same, *known]:
        if position.offset and _confirmed(fd, position, status.st_size):
            return replace(position, device=here.device, inode=here.inode)
    return here


def _same_file(one: Position, other: Position) -> bool:
    return (one.device, one.inode) == (other.device, other.inode)


def _merged(current: tuple[Position, ...], known: tuple[Position, ...]) -> tuple[Position, ...]:
    """Return the positions to keep: those of the files here, then of the ones last seen.

    A file that was not seen this time may only be between two names.
    """
    missing = [p for p in known if not any(_same_file(p, other) for other in current)]
    return (*current, *missing)[:_REMEMBERED_FILES]


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _confirmed(fd: int, position: Position, size: int) -> bool:
    if size < position.offset:
        return False
    line = os.pread(fd, position.offset - position.line_at, position.line_at)
    return xxhash.xxh64_hexdigest(line) == position.line_digest


def _whole_lines(fd: int, offset: int) -> bytes:
    """Return the whole lines from an offset on, up to a chunk; empty when there is none yet.

    A line longer than a chunk is taken in pieces, none of which can be read as JSON.
    """
    chunk = os.pread(fd, _CHUNK_BYTES, offset)
    end = chunk.rfind(b"\n") + 1
    return chunk if end == 0 and len(chunk) == _CHUNK_BYTES else chunk[:end]


def _after(position: Position, chunk: bytes) -> Position:
    begin = chunk.rfind(b"\n", 0, len(chunk) - 1) + 1
    return replace(
        position,
        offset=position.offset + len(chunk),
        line_at=position.offset + begin,
        line_digest=xxhash.xxh64_hexdigest(chunk[begin:]),
    )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
