"""Frames: what one durable write puts into a segment file.

A frame is everything that one fsync covers, so it is stored whole or not at all:

    magic 4s | payload length u32 | checksum u64 | first offset u64 | events u32 | payload

little endian; the checksum is xxh64 over length, first offset, events and payload. The payload is
a run of records: `type u8 | name length u16 | body length u32 | name | body`. An event's name is
its key in the idempotency window, so that reopening a log need not parse JSON; a cursor is a named
position that becomes durable together with the events of its frame and takes no offset.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import xxhash

MAGIC: Final = b"CEL1"
_HEAD: Final = struct.Struct("<4sIQQI")
_SUMMED: Final = struct.Struct("<IQI")
_RECORD: Final = struct.Struct("<BHI")
HEAD_BYTES: Final = _HEAD.size
LARGEST_PAYLOAD: Final = 64 * 1024 * 1024
_SEARCH_BYTES: Final = 1024 * 1024


class RecordType(IntEnum):
    """What a record of a frame holds."""

    EVENT = 0
    CURSOR = 1
    HEADER = 2


class Record(NamedTuple):
    """One record of a frame."""

    type: int
    name: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A frame's place and size, before its payload is read.

    Attributes:
        position: Where the frame begins in its file, bytes.
        first_offset: Offset of its first event.
        events: How many events it holds.
        length: Payload length, bytes.
        checksum: xxh64 as stored.
    """

    position: int
    first_offset: int
    events: int
    length: int
    checksum: int

    @property
    def end(self) -> int:
        """Where the next frame begins in the file, bytes."""
        return self.position + HEAD_BYTES + self.length


def pack_record(type: RecordType, name: bytes, body: bytes) -> bytes:
    """Return one record as bytes."""
    return _RECORD.pack(type, len(name), len(body)) + name + body


def pack_frame(first_offset: int, events: int, payload: bytes) -> bytes:
    """Return one frame as bytes."""
    checksum = _checksum(first_offset, events, payload)
    return _HEAD.pack(MAGIC, len(payload), checksum, first_offset, events) + payload


def unpack_records(payload: bytes) -> Iterator[Record]:
    """Yield the records of a payload whose checksum was right."""
    position = 0
    while position < len(payload):
        kind, name_length, body_length = _RECORD.unpack_from(payload, position)
        name_at = position + _RECORD.size
        body_at = name_at + name_length
        position = body_at + body_length
        yield Record(kind, payload[name_at:body_at], payload[body_at:position])


def read_head(fd: int, position: int, end: int) -> Head | None:
    """Return the head of the frame at a position, or None where no whole frame can be.

    Args:
        fd: The segment.
        position: Where to look, bytes.
        end: Bytes of the file that may be read.
    """
    if position + HEAD_BYTES > end:
        return None
    raw = os.pread(fd, HEAD_BYTES, position)
    if len(raw) < HEAD_BYTES:
        return None
    magic, length, checksum, first_offset, events = _HEAD.unpack(raw)
    head = Head(
        position=position,
        first_offset=first_offset,
        events=events,
        length=length,
        checksum=checksum,
    )
    return head if magic == MAGIC and length <= LARGEST_PAYLOAD and head.end <= end else None


def read_payload(fd: int, head: Head) -> bytes | None:
    """Return the payload of a frame, or None when it does not match its checksum."""
    payload = os.pread(fd, head.length, head.position + HEAD_BYTES)
    matches = _checksum(head.first_offset, head.events, payload) == head.checksum
    return payload if matches and len(payload) == head.length else None


def find_frame(fd: int, position: int, end: int) -> Head | None:
    """Return the first whole, valid frame at or after a position, wherever it begins.

    Used to tell a torn tail (nothing valid follows) from damage (something does). No event can
    pass for a frame: a head holds zero bytes, which JSON text and printable ids never do.
    """
    while position < end:
        chunk = os.pread(fd, min(_SEARCH_BYTES, end - position), position)
        if len(chunk) < len(MAGIC):
            return None
        found = chunk.find(MAGIC)
        while found >= 0:
            head = read_head(fd, position + found, end)
            if head is not None and read_payload(fd, head) is not None:
                return head
            found = chunk.find(MAGIC, found + 1)
        position += len(chunk) - len(MAGIC) + 1
    return None


def _checksum(first_offset: int, events: int, payload: bytes) -> int:
    digest = xxhash.xxh64(_SUMMED.pack(len(payload), first_offset, events))
    digest.update(payload)
    return digest.intdigest()
