"""`POST /v1/events`: durable before the answer, once, and errors that name the line."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform

from conch.control.client import ApiError
from conch.events import LogReader, Metric, hash_unit

NDJSON = {"content-type": "application/x-ndjson"}


def metric(event_id: str, **changes: Any) -> dict[str, Any]:
    """Return a metric event as an application sends it."""
    value = {"kind": "metric", "id": event_id, "name": "purchase", "value": 3.5, "unit": "user-7"}
    return {key: item for key, item in {**value, **changes}.items() if item is not None}


def feedback(event_id: str, **changes: Any) -> dict[str, Any]:
    """Return feedback as an application sends it."""
    value = {"kind": "feedback", "id": event_id, "prediction_id": "p-1", "label": [1, 2]}
    return {key: item for key, item in {**value, **changes}.items() if item is not None}


def post(platform: MemoryPlatform, body: Any, headers: dict[str, str] | None = None) -> Any:
    """Send a body as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"authorization": f"Bearer {platform.key}", **(headers or {})}
    return httpx.post(f"{platform.url}/v1/events", content=content, headers=given)


def test_what_is_answered_can_be_read_by_another_process(memory_platform: MemoryPlatform) -> None:
    """The answer comes after the write: a reader beside the writer sees the event at once."""
    answer = post(memory_platform, metric("read-1", at=1.7e9, model="digits"))
    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["stored"], receipt["repeated"]) == (1, 0)
    reader = LogReader(memory_platform.folder / "events" / "log")
    event = reader.read(receipt["next_offset"] - 1)[0].event
    assert isinstance(event, Metric)
    assert (event.event_id, event.occurred_at, event.model) == ("read-1", 1.7e9, "digits")
    assert event.unit_hash == hash_unit("user-7")


def test_an_id_is_stored_once(memory_platform: MemoryPlatform) -> None:
    """Sent again, alone or among others, an event is answered and not stored."""
    post(memory_platform, [metric("once-1"), metric("once-2")])
    again = post(memory_platform, [metric("once-2", value=9), metric("once-3"), metric("once-3")])
    assert (again.json()["stored"], again.json()["repeated"]) == (1, 2)
    other = post(memory_platform, feedback("once-1"))  # ids are unique within a kind
    assert other.json()["stored"] == 1


def test_every_form_is_taken(memory_platform: MemoryPlatform) -> None:
    """One object, a list, and lines with empty ones between."""
    lines = b"\n".join(json.dumps(metric(f"form-{n}")).encode() for n in range(3)) + b"\n\n"
    assert post(memory_platform, metric("form-one")).json()["stored"] == 1
    assert post(memory_platform, [feedback("form-f")]).json()["stored"] == 1
    assert post(memory_platform, lines, NDJSON).json()["stored"] == 3
    assert post(memory_platform, []).json()["stored"] == 0
    no_id = metric("", id=None)
    assert post(memory_platform, [no_id, no_id]).json()["stored"] == 2


def test_a_large_batch_is_one_request(memory_platform: MemoryPlatform) -> None:
    """Ten thousand events are stored by one request; one more is refused whole."""
    events = [metric(f"large-{number}") for number in range(10_001)]
    refused = post(memory_platform, events)
    assert (refused.status_code, refused.json()["details"]["line"]) == (422, 10_001)
    assert memory_platform.client.send_events(events[:10_000])["stored"] == 10_000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"kind": "metric"', "not JSON"),
        ("[1]", "not a JSON object"),
        (json.dumps(metric("x", kind="exposure")), "'exposure'"),
        (json.dumps(metric("x", kind=["metric"])), "kind"),
        (json.dumps(metric("x", unit=None)), "no unit"),
        (json.dumps(metric("x", unit=7)), "no unit"),
        (json.dumps(metric("x", value=None)), "value"),
        (json.dumps(metric("x", value="3")), "value"),
        (json.dumps(metric("x", value=True)), "value"),
        ('{"kind": "metric", "id": "x", "name": "n", "value": NaN, "unit": "u"}', "value"),
        (json.dumps(metric("x", at=1.7e12)), "occurred_at"),
        (json.dumps(metric("x", colour="red")), "colour"),
        (json.dumps(metric("x", name="")), "name"),
        (json.dumps(metric("x" * 201)), "event_id"),
        (json.dumps(metric("x", id=7)), "event_id"),
        (json.dumps(feedback("x", label=None)), "label"),
        (json.dumps(feedback("x", reward=1.0)), "label"),
        (json.dumps(feedback("x", trust=2)), "trust"),
        (json.dumps(feedback("x", feedback="rumour")), "rumour"),
        (json.dumps(feedback("x", prediction_id=None)), "prediction_id"),
    ],
)
def test_errors_name_the_line(memory_platform: MemoryPlatform, line: str, words: str) -> None:
    """A line that cannot be taken is named, and the lines before it are not stored either."""
    before = memory_platform.client.event_stats()["next_offset"]
    body = "\n".join([json.dumps(metric("before")), "", line, json.dumps(metric("after"))])
    answer = post(memory_platform, body.encode(), NDJSON)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "events-invalid")
    assert problem["details"]["line"] == 3
    assert words in problem["detail"]
    assert memory_platform.client.event_stats()["next_offset"] == before


def test_bodies_have_a_limit(memory_platform: MemoryPlatform) -> None:
    """Above 8 MiB the answer is 413."""
    answer = post(memory_platform, b" " * (8 * 2**20 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "event-too-large")


def test_events_need_the_key(memory_platform: MemoryPlatform) -> None:
    """Events decide releases, so nobody without the key sends or reads them."""
    url = f"{memory_platform.url}/v1/events"
    assert httpx.post(url, json=metric("closed")).status_code == 401
    assert httpx.get(url).status_code == 401


def test_the_log_is_read_and_counted(memory_platform: MemoryPlatform) -> None:
    """From any offset, by kind, and in numbers."""
    client = memory_platform.client
    first = client.send_events([metric("tail-1", name="tailed"), feedback("tail-2")])
    begin = first["next_offset"] - 2
    seen = client.events(after=begin)
    assert [one["event_id"] for one in seen["events"][:2]] == ["tail-1", "tail-2"]
    assert [one["kind"] for one in client.events(after=begin, kind="feedback")["events"]][:1] == [
        "feedback"
    ]
    assert client.events(after=seen["next_offset"])["events"] == []
    assert client.events(limit=1)["next_offset"] == seen["next_offset"]
    stats = client.event_stats()
    assert stats["by_metric"]["tailed"] == 1
    assert stats["by_kind"]["metric"] >= 1
    assert stats["next_offset"] == seen["next_offset"]


def test_a_log_that_another_process_holds_is_unavailable(memory_platform: MemoryPlatform) -> None:
    """While the log is not open the answer says to come again, and nothing is lost."""
    recording = memory_platform.plane.recording
    assert recording is not None
    opened, recording._opened = recording._opened, None
    try:
        with pytest.raises(ApiError) as error:
            memory_platform.client.send_events([metric("later")])
        assert (error.value.code, error.value.retryable) == ("events-unavailable", True)
    finally:
        recording._opened = opened
    assert memory_platform.client.send_events([metric("later")])["stored"] == 1
