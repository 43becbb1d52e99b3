"""Payload events over HTTP: opened by the token, refused by name, counted once they are whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform, running_memory_platform

from conch.control.payloads import PayloadSource
from conch.core import Arm, Ordinal, SlotName, TrafficSplit, TritonName

MODEL = TritonName("logged")
ARMS = (
    Arm(slot=SlotName("b"), ordinal=Ordinal(2), build_id="two", weight=1_000),
    Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="one", weight=9_000),
)
SPLIT = TrafficSplit(model=MODEL, arms=ARMS, salt="s", release="r", stage=1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryPlatform]:
    """A platform whose cluster has one model, its pods called after their slots."""
    arms = {f"logged-{arm.slot}": (MODEL, arm) for arm in ARMS}
    source = PayloadSource(
        token="the-token",
        routes=lambda: {MODEL: SPLIT},
        arm_of=lambda service, pod: arms.get(service),
        answer_s=0.2,
        margin_s=0.1,
    )
    home: Path = tmp_path_factory.mktemp("logged")
    with running_memory_platform(home, payloads=source) as found:
        yield found


def post(platform: MemoryPlatform, *, token: str = "the-token", **changes: str) -> httpx.Response:
    """Post an event; keyword `at` moves its time."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "id-1",
        "ce-type": "org.kubeflow.serving.inference.request",
        "ce-source": "logged-b-predictor-5d8f7c9b64-x7k2p",
        "ce-time": datetime.now(UTC).isoformat(),
        "ce-inferenceservicename": "logged-b",
        **{f"ce-{name}": value for name, value in changes.items()},
    }
    url = f"{platform.url}/v1/payloads/{token}"
    return httpx.post(url, headers=headers, content=b'{"inputs": []}')


def test_a_request_and_its_answer_become_one_exposure(platform: MemoryPlatform) -> None:
    """Durable in the event log, with the arm that got it and how long it took."""
    deadline = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while not found:
        assert time.monotonic() < deadline
        now = datetime.now(UTC)
        name = f"r-{now.timestamp()}"
        assert post(platform, id=name).status_code == 202
        answered = (now + timedelta(milliseconds=30)).isoformat()
        kind = "org.kubeflow.serving.inference.response"
        assert post(platform, id=name, type=kind, time=answered).status_code == 202
        events = platform.client.events(after=0, kind="exposure", limit=1000)["events"]
        found = [one for one in events if one["model"] == MODEL]
        time.sleep(0.05)
    one = found[0]
    assert (one["slot"], one["ordinal"], one["build_id"]) == ("b", 2, "two")
    assert (one["release"], one["stage"], one["propensity"]) == ("r", 1, 0.1)
    assert (one["status"], one["unit_given"]) == (200, False)
    assert one["latency_ms"] == pytest.approx(30, abs=10)
    payloads = platform.client.event_stats()["payloads"]
    assert payloads["counted"] >= 1
    assert payloads["unanswered"] == 0


def test_only_the_token_opens_it(platform: MemoryPlatform, memory_platform: MemoryPlatform) -> None:
    """Another token, and a platform that takes none, look alike."""
    for response in (post(platform, token="another"), post(memory_platform)):
        assert response.status_code == 404
        assert response.json()["code"] == "payloads-off"
    assert memory_platform.client.event_stats()["payloads"] is None


def test_what_is_no_payload_event_is_refused(platform: MemoryPlatform) -> None:
    """The message names the header."""
    response = post(platform, time="today")
    assert (response.status_code, response.json()["code"]) == (422, "payload-invalid")
    assert "ce-time" in response.json()["detail"]
