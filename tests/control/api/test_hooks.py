"""Webhook deliveries over HTTP: who is let in, what is kept, and what comes of it."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform, running_memory_platform, write_scaling
from platform_fixtures import until

from conch.control.api.hooks import AT_ONCE
from conch.control.keys import WEBHOOK_NAME, read_key
from conch.control.receiving import KEEP
from conch.control.registry import (
    ID_HEADER,
    LARGEST_BODY,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_S,
    sign,
)
from conch.control.state import ReceivedDelivery

PAYLOADS = Path(__file__).parents[1] / "registry" / "payloads"


def event(name: str, number: int = 1, **more: Any) -> bytes:
    data = {"name": name, "version": str(number), **more}
    return json.dumps({"entity": "model_version", "action": "created", "data": data}).encode()


def signed(
    platform: MemoryPlatform, body: bytes, *, age_s: float = 0.0, delivery_id: str | None = None
) -> dict[str, str]:
    """Return the headers that MLflow would send with a body."""
    delivery_id = delivery_id or str(uuid.uuid4())
    timestamp = str(int(time.time() - age_s))
    secret = read_key(platform.folder, WEBHOOK_NAME)
    return {
        ID_HEADER: delivery_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(secret, delivery_id, timestamp, body),
    }


def post(platform: MemoryPlatform, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{platform.url}/v1/hooks/mlflow", content=body, headers=headers, timeout=30)


def kept(platform: MemoryPlatform) -> list[ReceivedDelivery]:
    with platform.plane.database.begin() as tx:
        return tx.deliveries.find()


@contextmanager
def nothing_changes(platform: MemoryPlatform) -> Iterator[None]:
    """Check that the block writes no delivery down and has no look taken at the registry."""
    before = kept(platform), platform.plane.last_sweep
    yield
    assert (kept(platform), platform.plane.last_sweep) == before


@pytest.fixture
def registered(memory_platform: MemoryPlatform, tmp_path: Path) -> str:
    """A model that the registry has and conch, which sweeps once an hour here, does not know."""
    name = f"hooked-{uuid.uuid4().hex[:8]}"
    write_scaling(tmp_path / "model.onnx", factor=3.0)
    memory_platform.registry.register_path(name, tmp_path / "model.onnx")
    return name


def test_a_delivery_makes_the_registry_looked_at(
    memory_platform: MemoryPlatform, registered: str
) -> None:
    """A registered version goes live without a sweep being asked for, and the row says followed."""
    body = event(registered)
    answer = post(memory_platform, body, headers := signed(memory_platform, body))
    assert (answer.status_code, answer.json()) == (200, {"outcome": "taken"})
    assert memory_platform.client.wait_live(registered, 1, timeout_s=60) == 1
    [row] = [one for one in kept(memory_platform) if one.id == headers[ID_HEADER]]
    assert (row.event, row.name, row.number) == ("model_version.created", registered, 1)
    assert row.followed_at is not None
    assert row.followed_at >= row.created_at


def test_a_delivery_that_comes_again_is_dropped(memory_platform: MemoryPlatform) -> None:
    """A retry, or a replay within the tolerance, is answered 2xx and does nothing."""
    body = event("twice")
    headers = signed(memory_platform, body)
    seen = memory_platform.plane.last_sweep
    assert post(memory_platform, body, headers).json() == {"outcome": "taken"}
    until(lambda: memory_platform.plane.last_sweep != seen)
    with nothing_changes(memory_platform):
        answer = post(memory_platform, body, headers)
    assert (answer.status_code, answer.json()) == (200, {"outcome": "repeated"})


def test_the_same_delivery_at_once_is_taken_once(memory_platform: MemoryPlatform) -> None:
    """Eight copies that arrive together leave one row."""
    body = event("at-once")
    headers = signed(memory_platform, body)
    outcomes: list[str] = []

    def send() -> None:
        outcomes.append(post(memory_platform, body, headers).json()["outcome"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["repeated"] * 7 + ["taken"]


def test_a_delivery_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Duplicates are known from the database, not from memory."""
    body = event("kept")
    with running_memory_platform(tmp_path) as platform:
        headers = signed(platform, body)
        assert post(platform, body, headers).json() == {"outcome": "taken"}
    with running_memory_platform(tmp_path) as platform:
        assert post(platform, body, headers).json() == {"outcome": "repeated"}


def test_what_conch_wrote_itself_is_ignored(memory_platform: MemoryPlatform) -> None:
    """A tag of conch's own, and an event about prompts, are answered 2xx and do nothing."""
    tag = {"name": "m", "version": "1", "key": "conch.status", "value": "built"}
    for entity, action, data in (
        ("model_version_tag", "set", tag),
        ("prompt", "created", {"name": "p"}),
    ):
        body = json.dumps({"entity": entity, "action": action, "data": data}).encode()
        with nothing_changes(memory_platform):
            answer = post(memory_platform, body, signed(memory_platform, body))
        assert (answer.status_code, answer.json()) == (200, {"outcome": "ignored"})


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_everything_that_mlflow_sends_is_answered(
    memory_platform: MemoryPlatform, path: Path
) -> None:
    """Each captured body, signed anew, is taken."""
    body = json.loads(path.read_text())["body_raw"].encode()
    answer = post(memory_platform, body, signed(memory_platform, body))
    assert (answer.status_code, answer.json()) == (200, {"outcome": "taken"})


def test_a_forged_delivery_is_refused(memory_platform: MemoryPlatform) -> None:
    """A signature that fits another body, or another secret, is 401."""
    body = event("forged")
    headers = signed(memory_platform, body)
    for sent, given in (
        (event("other"), headers),
        (body, {**headers, ID_HEADER: "another"}),
        (body, {**headers, SIGNATURE_HEADER: sign("x" * 20, "i", "0", body)}),
    ):
        with nothing_changes(memory_platform):
            answer = post(memory_platform, sent, given)
        assert (answer.status_code, answer.json()["code"]) == (401, "webhook-forged")


@pytest.mark.parametrize("header", [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER])
def test_an_unsigned_delivery_is_refused(memory_platform: MemoryPlatform, header: str) -> None:
    """A delivery without one of the three headers is 401; the administrator key does not help."""
    body = event("unsigned")
    headers = signed(memory_platform, body)
    del headers[header]
    with nothing_changes(memory_platform):
        answer = post(
            memory_platform, body, {**headers, "authorization": f"Bearer {memory_platform.key}"}
        )
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook-header-missing")


@pytest.mark.parametrize("age_s", [TOLERANCE_S + 30, -TOLERANCE_S - 30], ids=["old", "future"])
def test_a_stale_delivery_is_refused(memory_platform: MemoryPlatform, age_s: float) -> None:
    """A delivery that is replayed after the tolerance, or signed in the future, is 401."""
    body = event("stale")
    with nothing_changes(memory_platform):
        answer = post(memory_platform, body, signed(memory_platform, body, age_s=age_s))
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook-stale")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"entity": "model_version", "action": "created"}',
        b'{"entity": "model_version", "action": "created", "data": {}}',
        event("m", -1),
        event("x" * 257),
        b'{"entity": "a", "action": "b", "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
    ids=["empty", "cut", "list", "bytes", "no-data", "no-name", "no-version", "long", "deep"],
)
def test_a_malformed_delivery_is_refused(memory_platform: MemoryPlatform, body: bytes) -> None:
    """A body that is signed rightly and is no event is 400, which MLflow does not send again."""
    with nothing_changes(memory_platform):
        answer = post(memory_platform, body, signed(memory_platform, body))
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook-malformed")


def test_an_announced_length_is_believed(memory_platform: MemoryPlatform) -> None:
    """A body that is said to be too large is refused before one byte of it arrives."""
    host, port = memory_platform.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/hooks/mlflow HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGEST_BODY + 1}\r\n\r\n"
    )
    with nothing_changes(memory_platform), socket.create_connection((host, int(port)), 30) as sent:
        sent.sendall(head.encode())
        with sent.makefile("rb") as reader:
            answer = reader.read()  # the server closes after its answer
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"webhook-oversized" in answer


def test_a_length_that_was_not_announced_is_counted(memory_platform: MemoryPlatform) -> None:
    """A body in chunks is cut off at the limit, however long it would go on."""
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while taken < 64 * LARGEST_BODY:
            taken += 65536
            yield b"x" * 65536

    with nothing_changes(memory_platform):
        try:
            answer = httpx.post(
                f"{memory_platform.url}/v1/hooks/mlflow", content=chunks(), timeout=30
            )
            assert (answer.status_code, answer.json()["code"]) == (413, "webhook-oversized")
        except httpx.TransportError:
            pass  # the server closed before the client had read the answer
    assert taken < 16 * LARGEST_BODY


def test_many_at_once_are_told_to_come_again(memory_platform: MemoryPlatform) -> None:
    """While every place holds a delivery that does not finish, a further one is 503."""
    host, port = memory_platform.url.removeprefix("http://").split(":")
    head = b"POST /v1/hooks/mlflow HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
    slow: list[socket.socket] = []

    def begin() -> None:
        slow.append(socket.create_connection((host, int(port)), 30))
        slow[-1].sendall(head)

    try:
        for _ in range(AT_ONCE):
            begin()
        body = event("busy")
        found: list[httpx.Response] = []

        def busy() -> bool:
            found.append(post(memory_platform, body, signed(memory_platform, body)))
            if found[-1].status_code == 503:
                return True
            begin()  # one that came while this delivery had a place was sent away
            return False

        until(busy)
        assert found[-1].json()["code"] == "webhook-busy"
        assert found[-1].headers["retry-after"]
    finally:
        for one in slow:
            one.close()
    until(lambda: post(memory_platform, body, signed(memory_platform, body)).status_code == 200)


def test_a_locked_database_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged that could not be written; MLflow sends it again."""
    body = event("locked")
    with running_memory_platform(tmp_path) as platform:
        headers = signed(platform, body)
        with closing(sqlite3.connect(tmp_path / "conch.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = post(platform, body, headers)
            other.execute("ROLLBACK")
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
        until(lambda: post(platform, body, headers).json().get("outcome") == "taken")


def test_a_process_that_does_not_act_takes_nothing(tmp_path: Path) -> None:
    """Where another process holds the lease, the answer is 503 and nothing is written."""
    body = event("follower")
    with running_memory_platform(tmp_path) as platform:
        with platform.plane.database.begin() as tx:
            lease = tx.leases.get("leader")
            later = platform.plane.now() + timedelta(minutes=10)
            tx.leases.change(lease, holder="elsewhere:1:1", token=lease.token + 1, until=later)
        answer = post(platform, body, signed(platform, body))
        assert (answer.status_code, answer.json()["code"]) == (503, "not-leader")
        assert kept(platform) == []


def test_old_deliveries_are_forgotten(memory_platform: MemoryPlatform) -> None:
    """The table does not grow for ever: the next delivery removes those past their time."""
    old = memory_platform.plane.now() - KEEP - timedelta(seconds=1)
    with memory_platform.plane.database.begin() as tx:
        tx.deliveries.add(
            ReceivedDelivery(
                id="old",
                event="model_version.created",
                name="m",
                number=1,
                signed_at=old,
                created_at=old,
            )
        )
    body = event("fresh")
    assert post(memory_platform, body, signed(memory_platform, body)).status_code == 200
    assert "old" not in {one.id for one in kept(memory_platform)}
