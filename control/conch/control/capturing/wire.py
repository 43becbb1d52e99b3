"""The messages of Envoy's external processing, read from their bytes.

Field numbers are those of `envoy.service.ext_proc.v3.ProcessingRequest` and
`envoy.config.core.v3.HeaderMap`; only what a copy of a request needs is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Part(IntEnum):
    """What a message carries: the field of `ProcessingRequest` that is set."""

    REQUEST_HEADERS = 2
    RESPONSE_HEADERS = 3
    REQUEST_BODY = 4
    RESPONSE_BODY = 5
    REQUEST_TRAILERS = 6
    RESPONSE_TRAILERS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message.

    Attributes:
        part: What it carries.
        headers: Of headers and trailers, by lower-case name; the last of a repeated one.
        body: A piece of a body.
        last: Whether nothing of this direction follows.
    """

    part: Part
    headers: dict[str, str]
    body: bytes
    last: bool


_PARTS: Final = frozenset(Part)
_HEADERS: Final = frozenset({Part.REQUEST_HEADERS, Part.RESPONSE_HEADERS})
_TRAILERS: Final = frozenset({Part.REQUEST_TRAILERS, Part.RESPONSE_TRAILERS})


def read_message(data: bytes) -> Message | None:
    """Return what a `ProcessingRequest` carries; None where it is nothing that is copied.

    Raises:
        ValueError: The bytes are no message.
    """
    for field, value in _fields(data):
        if field not in _PARTS or not isinstance(value, bytes):
            continue
        part = Part(field)
        if part in _HEADERS:
            inner = dict(_fields(value))
            return Message(
                part=part, headers=_headers(inner.get(1, b"")), body=b"", last=bool(inner.get(3))
            )
        if part in _TRAILERS:
            inner = dict(_fields(value))
            return Message(part=part, headers=_headers(inner.get(1, b"")), body=b"", last=True)
        inner = dict(_fields(value))
        body = inner.get(1, b"")
        return Message(
            part=part,
            headers={},
            body=body if isinstance(body, bytes) else b"",
            last=bool(inner.get(2)),
        )
    return None


def _headers(data: bytes | int) -> dict[str, str]:
    found: dict[str, str] = {}
    if not isinstance(data, bytes):
        return found
    for field, one in _fields(data):
        if field == 1 and isinstance(one, bytes):
            pair = dict(_fields(one))
            key, raw, text = pair.get(1, b""), pair.get(3), pair.get(2, b"")
            value = raw if isinstance(raw, bytes) and raw else text
            if isinstance(key, bytes) and isinstance(value, bytes):
                found[key.decode("latin-1").lower()] = value.decode(errors="replace")
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a Protocol Buffers message: number and value, bytes or a number."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field goes beyond its message")
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
