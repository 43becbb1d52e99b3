"""Segment files: `<first offset, 20 digits>.seg`, begun by a header, then only appended to.

A segment is created under a temporary name and renamed, so that a segment that exists has its
header. The header carries every cursor as of then: the newest segment alone knows them all.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .disks import Disk, sync_directory, write_all
from .errors import LogCorruptError
from .frames import (
    Head,
    RecordType,
    find_frame,
    pack_frame,
    pack_record,
    read_head,
    read_payload,
    unpack_records,
)

SUFFIX: Final = ".seg"
FORMAT: Final = 1
_DIGITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment file.

    Attributes:
        path: The file.
        first_offset: Offset of its first event.
        created_at: When it was begun, Unix seconds; the one before was sealed then.
        length: Its readable bytes.
    """

    path: Path
    first_offset: int
    created_at: float
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a walk over one segment found.

    Attributes:
        end: Where the last whole frame ends, bytes.
        next_offset: The offset after its last event.
        cursors: Cursors as of its last frame.
        torn_bytes: Bytes after `end`: what a crash left of a write nobody was told about.
    """

    end: int
    next_offset: int
    cursors: Mapping[str, str]
    torn_bytes: int


def list_segments(directory: Path) -> tuple[Segment, ...]:
    """Return the segments of a directory in the order of their offsets.

    Raises:
        LogCorruptError: A segment's header cannot be read.
    """
    paths = sorted(directory.glob(f"{'[0-9]' * _DIGITS}{SUFFIX}"))
    found = []
    for path in paths:
        # A reader lists without a lock: retention may take a file away meanwhile.
        with suppress(FileNotFoundError):
            found.append(_open_segment(path))
    return tuple(found)


def create_segment(
    disk: Disk, directory: Path, *, first_offset: int, created_at: float, cursors: Mapping[str, str]
) -> tuple[Segment, int]:
    """Begin a segment and return it with a descriptor that appends to it.

    A segment of that offset that holds no event yet is replaced: the header has all its cursors.

    Raises:
        OSError: The file system refused; nothing is left behind.
    """
    path = directory / f"{first_offset:0{_DIGITS}d}{SUFFIX}"
    header = {"format": FORMAT, "created_at": created_at, "cursors": dict(cursors)}
    record = pack_record(RecordType.HEADER, b"", json.dumps(header).encode())
    frame = pack_frame(first_offset, 0, record)
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        write_all(disk, fd, frame)
        disk.sync(fd)
        temporary.rename(path)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            temporary.unlink()
        raise
    try:
        sync_directory(disk, directory)
    except OSError as error:
        os.close(fd)
        # The name may or may not last: for the writer that is no lack of room but a failed disk.
        raise OSError(errno.EIO, f"cannot make {path.name} durable: {error}") from error
    segment = Segment(
        path=path, first_offset=first_offset, created_at=created_at, length=len(frame)
    )
    return segment, fd


def scan_segment(segment: Segment) -> Scan:
    """Walk a segment with all checksums and say where its whole frames end.

    A bad frame with nothing whole after it is the torn end of a write that nobody was told about.
    A bad frame *followed* by a whole one is damage: one frame is one fsync, so the later frame was
    begun only after the bad one had been made durable.

    Raises:
        LogCorruptError: A frame that had been durable is damaged.
    """
    fd = os.open(segment.path, os.O_RDONLY)
    try:
        position, next_offset = 0, segment.first_offset
        cursors: dict[str, str] = {}
        while (found := _read_frame(fd, position, segment.length)) is not None:
            head, payload = found
            if head.first_offset != next_offset:
                raise damaged(segment, position, "its offsets do not follow on")
            for record in unpack_records(payload):
                if record.type == RecordType.HEADER:
                    cursors.update(json.loads(record.body)["cursors"])
                elif record.type == RecordType.CURSOR:
                    cursors[record.name.decode()] = record.body.decode()
            position, next_offset = head.end, head.first_offset + head.events
        if find_frame(fd, position + 1, segment.length) is not None:
            raise damaged(segment, position, "a whole frame follows a broken one")
    finally:
        os.close(fd)
    return Scan(
        end=position,
        next_offset=next_offset,
        cursors=cursors,
        torn_bytes=segment.length - position,
    )


def damaged(segment: Segment, position: int, why: str) -> LogCorruptError:
    """Return the error for bytes that had been durable and are not what they were."""
    return LogCorruptError(
        f"The event log segment {segment.path.name} is damaged at byte {position}: {why}.",
        hint="Restore the file from a backup; events before and after it are whole.",
        segment=str(segment.path),
        position=position,
    )


def _open_segment(path: Path) -> Segment:
    first_offset = int(path.stem)
    fd = os.open(path, os.O_RDONLY)
    try:
        length = os.fstat(fd).st_size
        found = _read_frame(fd, 0, length)
    finally:
        os.close(fd)
    segment = Segment(path=path, first_offset=first_offset, created_at=0.0, length=length)
    if found is None:
        raise damaged(segment, 0, "its header cannot be read")
    record = next(unpack_records(found[1]))
    header = json.loads(record.body) if record.type == RecordType.HEADER else {}
    if header.get("format") != FORMAT:
        raise damaged(segment, 0, f"its format is not {FORMAT}")
    return Segment(
        path=path,
        first_offset=first_offset,
        created_at=float(header["created_at"]),
        length=length,
    )


def _read_frame(fd: int, position: int, end: int) -> tuple[Head, bytes] | None:
    head = read_head(fd, position, end)
    payload = None if head is None else read_payload(fd, head)
    return None if head is None or payload is None else (head, payload)
