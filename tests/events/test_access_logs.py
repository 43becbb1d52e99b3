"""The access log into the event log: each line once, over rotation, restarts and crashes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conch.events import (
    AccessLogReader,
    EventLog,
    Exposure,
    InvalidEventError,
    LogFailedError,
    LogSettings,
    hash_unit,
)
from conch.events.access_lines import read_line
from conch.events.disks import PosixDisk

NOW = 1.8e9
# Without a window of known ids nothing but the position keeps a line from being stored twice.
FORGETFUL = LogSettings(window_events=0)


def line(number: int, **changes: Any) -> bytes:
    """Return an access log line as Envoy writes it, with its newline."""
    fields = {
        "time": f"2026-11-23T20:{number // 60 % 60:02d}:{number % 60:02d}.250000Z",
        "request_id": f"r{number}",
        "protocol": "HTTP/1.1",
        "method": "POST",
        "path": "/v2/models/digits/infer",
        "model": "digits",
        "slot": "b",
        "build": "build-9",
        "ordinal": "9",
        "cluster": "digits-b",
        "unit": hash_unit("user-7"),
        "unit_given": True,
        "latency_us": 1234,
        "upstream_us": 1100,
        "status": 200,
        "grpc_status": None,
        "flags": "-",
        "attempts": 1,
        "request_bytes": 10,
        "response_bytes": 20,
    }
    return json.dumps({**fields, **changes}).encode() + b"\n"


def read(changes: dict[str, Any]) -> Exposure | None:
    """Read one line with changed fields."""
    return read_line(line(0, **changes).strip(), received_at=NOW)


# Written by Envoy 1.40 with the gateway's own configuration.
WRITTEN_BY_ENVOY = [
    b"""{"attempts":1,"build":"b2","cluster":"slot-b--grpc","flags":"-","grpc_status":0,\
"latency_us":669,"method":"POST","model":"m","ordinal":"2",\
"path":"/inference.GRPCInferenceService/ModelInfer","protocol":"HTTP/2","request_bytes":57,\
"request_id":"16a88d76-9244-4819-aefb-a9e60220b80e","response_bytes":60,"slot":"b","status":200,\
"time":"2026-11-23T21:01:13.269956Z","unit":"24b8381c913612ad","unit_given":true,\
"upstream_us":525}""",
    b"""{"attempts":1,"build":"8ffc8509-affb-46a6-b575-e9a4547807c0","cluster":"slot-a--http",\
"flags":"-","grpc_status":null,"latency_us":3837,"method":"POST","model":"digits","ordinal":"1",\
"path":"/v2/models/digits/infer","protocol":"HTTP/1.1","request_bytes":12947,\
"request_id":"3e6bcae9-7628-4241-8c58-76a25d4b86cb","response_bytes":2146,"slot":"a",\
"status":200,"time":"2026-11-23T21:16:02.445007Z","unit":"0dd5a5582cff31c9","unit_given":false,\
"upstream_us":2958}""",
    b"""{"attempts":0,"build":null,"cluster":null,"flags":"-","grpc_status":5,"latency_us":296,\
"method":"POST","model":null,"ordinal":null,\
"path":"/inference.GRPCInferenceService/ModelMetadata","protocol":"HTTP/2","request_bytes":9,\
"request_id":"811abc1b-6c2a-49f0-8e89-398d638fc474","response_bytes":0,"slot":null,"status":200,\
"time":"2026-11-23T20:45:30.977351Z","unit":"28168eb68cb57db4","unit_given":false,\
"upstream_us":null}""",
]


def test_lines_written_by_envoy() -> None:
    """Lines of a real gateway: gRPC with a unit, HTTP without one, and a call that infers not."""
    grpc, http, metadata = (read_line(line, received_at=NOW) for line in WRITTEN_BY_ENVOY)

    assert grpc is not None
    assert http is not None
    assert metadata is None
    assert (grpc.model, grpc.slot, grpc.ordinal, grpc.build_id) == ("m", "b", 2, "b2")
    assert (grpc.status, grpc.grpc_status, grpc.latency_ms) == (200, 0, 0.669)
    assert (grpc.unit_given, http.unit_given) == (True, False)
    assert (http.model, http.grpc_status, http.flags) == ("digits", None, "")


def test_line() -> None:
    """A line of an inference is an exposure with its outcome."""
    event = read({})

    assert event is not None
    assert event.event_id.startswith("access-")
    assert event == Exposure(
        event_id=event.event_id,
        occurred_at=1795464000.25,
        received_at=NOW,
        model="digits",
        slot="b",
        ordinal=9,
        build_id="build-9",
        unit_hash=hash_unit("user-7"),
        unit_given=True,
        request_id="r0",
        latency_ms=1.234,
        status=200,
    )


ASSIGNED = {
    "release": "r-1",
    "stage": 2,
    "model": "digits",
    "arms": {
        "a": {"weight": 9500, "ordinal": 8, "build": "build-8"},
        "b": {"weight": 500, "ordinal": 9, "build": "build-9"},
    },
}


def test_what_a_release_assigned_comes_from_the_route() -> None:
    """Release, stage and propensity are the route's, which also knows the arm without an answer."""
    answered = read({"assignment": ASSIGNED, "cluster": "slot-b--http"})
    gone = {"model": None, "slot": None, "build": None, "ordinal": None, "latency_us": None}
    went_away = {**gone, "status": 0, "flags": "DC", "duration_ms": 1500, "cluster": "slot-a--grpc"}
    unanswered = read({"assignment": ASSIGNED, **went_away})
    tried = read({"assignment": ASSIGNED, "cluster": "slot-b--trial--grpc"})

    assert answered is not None
    assert (answered.release, answered.stage, answered.propensity) == ("r-1", 2, 0.05)
    assert tried is not None
    assert (tried.release, tried.slot, tried.propensity) == ("r-1", "b", 0.05)
    assert unanswered is not None
    assert (unanswered.model, unanswered.slot, unanswered.ordinal) == ("digits", "a", 8)
    assert (unanswered.build_id, unanswered.propensity) == ("build-8", 0.95)
    assert (unanswered.latency_ms, unanswered.status) == (1500, 0)
    pinned = read({"assignment": None})
    assert pinned is not None
    assert (pinned.release, pinned.stage, pinned.propensity) == ("", 0, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"path": "/inference.GRPCInferenceService/ModelInfer", "grpc_status": 14}, True),
        ({"path": "/inference.GRPCInferenceService/ModelStreamInfer"}, True),
        ({"path": "/v2/models/digits/versions/9/infer"}, True),
        ({"path": "/v1/models/digits:predict"}, True),
        ({"status": 503, "flags": "UF", "latency_us": None}, True),
        ({"status": 0, "flags": "DC"}, True),
        ({"path": "/v2/models/digits/ready", "method": "GET"}, False),
        ({"path": "/v2/models/digits"}, False),
        ({"path": "/inference.GRPCInferenceService/ModelMetadata"}, False),
        ({"model": None}, False),
        ({"slot": "-"}, False),
        ({"ordinal": None}, False),
    ],
)
def test_which_lines_are_exposures(changes: dict[str, Any], expected: bool) -> None:
    """Calls that infer, by a known version, count; failed ones too, with their flags."""
    event = read(changes)

    assert (event is not None) == expected
    if event is not None:
        assert event.grpc_status == changes.get("grpc_status")
        assert event.flags == changes.get("flags", "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"time": ',
        b"\xff\xfe",
        line(0, ordinal="nine").strip(),
        line(0, time="yesterday").strip(),
        line(0, latency_us="fast").strip(),
        line(0, latency_us=-5).strip(),
        line(0, model="di\ngits").strip(),
        line(0, assignment={"release": "r"}, cluster="slot-b--http").strip(),
        line(0, assignment=7, cluster="slot-b--http").strip(),
        line(0, assignment=ASSIGNED, cluster="slot-c--http").strip(),
    ],
)
def test_malformed_lines(data: bytes) -> None:
    """A line that cannot be read is refused with the code of an invalid event."""
    with pytest.raises(InvalidEventError):
        read_line(data, received_at=NOW)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty event log."""
    with EventLog(tmp_path / "log", settings=FORGETFUL) as log:
        yield log


def requests(log: EventLog) -> list[int]:
    """Return the request numbers of all exposures, in order."""
    events = log.read(0, limit=100_000)
    return [int(s.event.request_id[1:]) for s in events if isinstance(s.event, Exposure)]


def add(path: Path, *numbers: int) -> None:
    """Append lines."""
    with path.open("ab") as file:
        file.writelines(line(number) for number in numbers)


def test_incremental(tmp_path: Path, log: EventLog) -> None:
    """Each poll takes what is new; a last line without newline waits for its end."""
    path = tmp_path / "access.log"
    reader = AccessLogReader(path, log, clock=lambda: NOW)
    assert reader.poll().files == 0  # Envoy has not begun yet
    add(path, 0, 1)
    assert reader.poll().exposures == 2
    with path.open("ab") as file:
        file.write(line(2) + line(3)[:50])
    assert reader.poll().exposures == 1
    assert reader.poll().exposures == 0
    with path.open("ab") as file:
        file.write(line(3)[50:] + b"garbage\n" + line(4, model=None) + line(5))

    report = reader.poll()

    assert (report.exposures, report.skipped, report.malformed) == (2, 1, 1)
    assert "not JSON" in report.malformed_example
    assert requests(log) == [0, 1, 2, 3, 5]


def test_restart(tmp_path: Path, log: EventLog) -> None:
    """A new reader on a reopened log goes on where the old one ended."""
    path = tmp_path / "access.log"
    add(path, 0, 1)
    AccessLogReader(path, log).poll()
    log.close()
    add(path, 2)

    with EventLog(log.directory, settings=FORGETFUL) as reopened:
        assert AccessLogReader(path, reopened).poll().exposures == 1
        assert requests(reopened) == [0, 1, 2]


def test_rotation_by_rename(tmp_path: Path, log: EventLog) -> None:
    """Rotations between two polls, and writes to a renamed file, lose and repeat nothing."""
    path = tmp_path / "access.log"
    reader = AccessLogReader(path, log)
    add(path, 0, 1)
    reader.poll()
    add(path, 2)
    path.rename(tmp_path / "access.log.2")
    assert reader.poll().exposures == 1  # between its two names nothing is at the path
    add(tmp_path / "access.log.2", 3)  # Envoy has not reopened the file yet
    add(path, 4)
    path.rename(tmp_path / "access.log.1")
    add(path, 5)
    for age, name in enumerate(["access.log", "access.log.1", "access.log.2"]):
        os.utime(tmp_path / name, (NOW - age, NOW - age))

    assert reader.poll().exposures == 3
    assert reader.poll().exposures == 0
    assert requests(log) == [0, 1, 2, 3, 4, 5]


def test_file_out_of_sight(tmp_path: Path, log: EventLog) -> None:
    """A file that one poll does not see, being between two names, keeps its position."""
    path, hidden = tmp_path / "access.log", tmp_path / "moving"
    reader = AccessLogReader(path, log)
    add(path, 0, 1)
    reader.poll()
    path.rename(hidden)
    add(path, 2)
    assert reader.poll().exposures == 1
    add(hidden, 3)
    hidden.rename(tmp_path / "access.log.1")

    assert reader.poll().exposures == 1
    assert requests(log) == [0, 1, 2, 3]


def test_rotation_by_copy(tmp_path: Path, log: EventLog) -> None:
    """Copy and truncate: the copy is recognised by its last line, the file begins anew."""
    path = tmp_path / "access.log"
    reader = AccessLogReader(path, log)
    add(path, 0, 1, 2)
    reader.poll()
    add(path, 3)
    shutil.copy(path, tmp_path / "access.log.1")
    os.utime(tmp_path / "access.log.1", (NOW - 9, NOW - 9))
    os.truncate(path, 0)
    add(path, 4)

    assert reader.poll().exposures == 2
    assert requests(log) == [0, 1, 2, 3, 4]


def test_inode_given_again(tmp_path: Path, log: EventLog) -> None:
    """Another file under the number of a deleted one is read from its beginning."""
    path = tmp_path / "access.log"
    reader = AccessLogReader(path, log)
    add(path, 0, 1)
    reader.poll()
    path.write_bytes(line(7) + line(8) + line(9))  # same inode, other content, not shorter

    assert reader.poll().exposures == 3
    assert requests(log) == [0, 1, 7, 8, 9]


def test_lines_longer_than_a_chunk(tmp_path: Path, log: EventLog) -> None:
    """A line of megabytes is passed over and the next one read."""
    path = tmp_path / "access.log"
    path.write_bytes(line(0) + b"x" * 3_000_000 + b"\n" + line(1))

    report = AccessLogReader(path, log).poll()

    assert (report.exposures, report.malformed > 0) == (2, True)
    assert requests(log) == [0, 1]


class FailingDisk(PosixDisk):
    """A real disk whose fsync can be made to fail."""

    fails = False

    def sync(self, fd: int) -> None:
        """Flush, or fail."""
        if self.fails:
            raise OSError(errno.EIO, "input/output error")
        super().sync(fd)


def test_position_and_events_are_one(tmp_path: Path) -> None:
    """When the events of a poll cannot be stored, the position has not moved either."""
    path, disk = tmp_path / "access.log", FailingDisk()
    with EventLog(
        tmp_path / "log",
        disk=disk,
    ) as log:
        reader = AccessLogReader(path, log)
        add(path, 0)
        reader.poll()
        add(path, 1, 2)
        disk.fails = True
        with pytest.raises(LogFailedError):
            reader.poll()

    with EventLog(tmp_path / "log", settings=FORGETFUL) as log:
        assert AccessLogReader(path, log).poll().exposures == 2
        assert requests(log) == [0, 1, 2]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 700)),  # so many bytes of what is to come
        st.sampled_from([("poll", 0), ("rename", 0), ("copy", 0), ("restart", 0)]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Any mix of torn writes, rotations, polls and restarts: every line once, in order.

    As Envoy does, a line is finished in the file that it was begun in: rotation waits for its end.
    """
    directory = tmp_path_factory.mktemp("access")
    path = directory / "access.log"
    content = b"".join(line(number) for number in range(60))
    written = rotations = 0
    log = EventLog(directory / "log", settings=FORGETFUL)
    reader = AccessLogReader(path, log)

    def write(count: int) -> None:
        nonlocal written
        with path.open("ab") as file:
            file.write(content[written : written + count])
        written = min(len(content), written + count)
        os.utime(path, (NOW + written, NOW + written))

    def finish_line() -> None:
        if written and content[written - 1 : written] != b"\n":
            write(content.index(b"\n", written) + 1 - written)

    try:
        for action, count in [*steps, ("poll", 0)]:
            rotations += 1
            match action:
                case "write":
                    write(count)
                case "poll":
                    reader.poll()
                case "rename" if path.exists():
                    finish_line()
                    path.rename(directory / f"access.log.{rotations:03d}")
                case "copy" if path.exists():
                    finish_line()
                    copied = directory / f"access.log-{rotations:03d}"
                    shutil.copy(path, copied)
                    os.utime(copied, (NOW + written, NOW + written))
                    os.truncate(path, 0)
                case "restart":
                    log.close()
                    log = EventLog(directory / "log", settings=FORGETFUL)
                    reader = AccessLogReader(path, log)
        assert requests(log) == list(range(content[:written].count(b"\n")))
    finally:
        log.close()
