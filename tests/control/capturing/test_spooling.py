"""The spool drops and counts; it never waits, and its files are bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conch.control.capturing.exchanges import Exchange, Keeping
from conch.control.capturing.reading import read_captured
from conch.control.capturing.spooling import SPOOL_NAME, STATUS_NAME, Spool
from conch.control.capturing.wire import Message, Part, read_message
from conch.events import AccessLogReader, EventLog, InvalidEventError


def field(number: int, value: bytes | int) -> bytes:
    """Return a Protocol Buffers field."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a base-128 number."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def headers(**pairs: str) -> bytes:
    """Return `HttpHeaders` as Envoy sends it, values as raw bytes."""
    one = b"".join(
        field(1, field(1, key.replace("_", "-").encode()) + field(3, value.encode()))
        for key, value in pairs.items()
    )
    return field(1, one)


def test_messages_are_read_as_envoy_writes_them() -> None:
    """Headers, pieces of bodies and trailers; anything else is passed over."""
    seen = read_message(field(10, 1) + field(2, headers(x_request_id="r") + field(3, 1)))
    assert seen == Message(
        part=Part.REQUEST_HEADERS, headers={"x-request-id": "r"}, body=b"", last=True
    )
    piece = read_message(field(5, field(1, b"abc" * 100)))
    assert piece == Message(part=Part.RESPONSE_BODY, headers={}, body=b"abc" * 100, last=False)
    end = read_message(field(7, headers(grpc_status="0")))
    assert end is not None
    assert (end.headers, end.last) == ({"grpc-status": "0"}, True)
    assert read_message(field(8, b"metadata")) is None


@pytest.mark.parametrize("data", [b"\x12\x7f", b"\xff" * 11, b"\x13", b"\x12"])
def test_broken_messages_are_refused(data: bytes) -> None:
    """Bytes that are no message are an error, not half a message."""
    with pytest.raises(ValueError, match=r"field|number|wire"):
        read_message(data)


def exchange(**changes: str) -> Exchange:
    """Return a whole exchange of one JSON request."""
    found = Exchange(Keeping(), clock=lambda: 1.8e9)
    sent = {":path": "/v2/models/m/infer", "x-request-id": "r-1", "x-conch-unit": "u"}
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}
    answered = {
        ":status": "200",
        "x-conch-model": "m",
        "x-conch-slot": "a",
        "x-conch-version": "3",
        **changes,
    }
    found.add(Message(part=Part.REQUEST_HEADERS, headers=sent, body=b"", last=False))
    body = json.dumps({"inputs": [tensor]}).encode()
    for piece in (body[:10], body[10:]):
        found.add(Message(part=Part.REQUEST_BODY, headers={}, body=piece, last=False))
    found.add(Message(part=Part.RESPONSE_HEADERS, headers=answered, body=b"", last=False))
    body = json.dumps({"outputs": [{**tensor, "name": "y"}]}).encode()
    found.add(Message(part=Part.RESPONSE_BODY, headers={}, body=body, last=True))
    return found


def test_a_failed_request_has_no_output() -> None:
    """What a version answers with an error is kept as such, with its inputs."""
    line = exchange(**{":status": "500"}).line()
    assert line is not None
    event = read_captured(line, received_at=1.8e9)
    assert event is not None
    assert (event.features, event.output) == ({"x": [1.0]}, None)
    with pytest.raises(InvalidEventError):
        read_captured(line[:-20], received_at=1.8e9)


def test_what_no_version_answered_is_not_kept() -> None:
    """The gateway's own refusals name no model."""
    assert exchange(**{"x-conch-model": ""}).line() is None


def test_files_are_bounded_and_each_line_is_read_once(tmp_path: Path) -> None:
    """Rotated while it is read, the spool reaches the event log whole and once."""
    with EventLog(tmp_path / "log") as log:
        folder = tmp_path / "spool"
        reader = AccessLogReader(folder / SPOOL_NAME, log, name="captured", read=read_captured)
        spool = Spool(folder, file_bytes=2_000, files=2, waiting=1000)
        line = exchange().line()
        assert line is not None
        for number in range(50):
            spool.offer(line.replace(b'"r-1"', f'"r-{number}"'.encode()))
            if number % 5 == 4:
                reader.poll()
        spool.close()
        reader.poll()
        found = {stored.event.event_id for stored in log.read(0)}
        files = list(folder.glob(f"{SPOOL_NAME}*"))
        assert len(files) <= 3
        assert json.loads((folder / STATUS_NAME).read_text())["stored"] == 50
        assert found <= {f"r-{number}" for number in range(50)}
        assert len(found) == log.next_offset


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    """Where the disk is too slow the line is dropped at once, and the status says how many."""
    (tmp_path / SPOOL_NAME).mkdir()  # a folder in the file's place: nothing can be written
    spool = Spool(tmp_path, file_bytes=1000, files=1, waiting=3)
    taken = [spool.offer(b"x" * 100) for _ in range(500)]
    spool.close()
    assert json.loads((tmp_path / STATUS_NAME).read_text())["dropped"] == 500
    assert taken.count(False) <= 500
