"""Webhook deliveries: only what MLflow signed, and lately, is read; most of it is a hint."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.registry import (
    EVENTS,
    ID_HEADER,
    LARGEST_BODY,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Delivery,
    ForgedDeliveryError,
    Hint,
    MalformedDeliveryError,
    MissingHeaderError,
    OversizedDeliveryError,
    StaleDeliveryError,
    hint_of,
    sign,
    verify_delivery,
)

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "a-secret-of-sixteen"


def captured(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def received_at(delivery: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(delivery["headers"][TIMESTAMP_HEADER]), tz=UTC)


def headers(body: bytes, at: datetime = NOW, delivery_id: str = "d-1") -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        ID_HEADER: delivery_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(SECRET, delivery_id, timestamp, body),
    }


BODY = json.dumps(
    {"entity": "model_version", "action": "created", "data": {"name": "m", "version": "1"}}
).encode()


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_every_captured_delivery_is_accepted(path: Path) -> None:
    """What a real MLflow sent verifies, and is read as what it was."""
    sent = captured(path)
    delivery = verify_delivery(
        sent["headers"],
        sent["body_raw"].encode(),
        secret=sent["secret"],
        now=received_at(sent) + timedelta(seconds=7),
    )
    assert delivery.event == f"{sent['body']['entity']}.{sent['body']['action']}"
    assert delivery.data == sent["body"]["data"]
    assert delivery.delivery_id == sent["headers"][ID_HEADER]


@given(data=st.data())
def test_a_changed_byte_is_a_forgery(data: st.DataObject) -> None:
    """Whatever single byte of the signed content is flipped, the delivery is refused."""
    sent = captured(data.draw(st.sampled_from(PAYLOADS)))
    body = bytearray(sent["body_raw"].encode())
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ForgedDeliveryError):
        verify_delivery(sent["headers"], bytes(body), secret=sent["secret"], now=received_at(sent))


@pytest.mark.parametrize("header", [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER])
def test_a_changed_header_is_a_forgery(header: str) -> None:
    """The delivery id and the time are signed, too, so neither can be renewed."""
    changed = {**headers(BODY), header: "1"}
    with pytest.raises(ForgedDeliveryError):
        verify_delivery(changed, BODY, secret=SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "another-secret-here"])
def test_another_secret_is_a_forgery(secret: str) -> None:
    """Without the right secret nothing verifies, and an empty one never does."""
    with pytest.raises(ForgedDeliveryError):
        verify_delivery(headers(BODY), BODY, secret=secret, now=NOW)


@pytest.mark.parametrize("header", [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER])
def test_an_absent_header_is_named(header: str) -> None:
    """An unsigned delivery is refused in words that tell what it lacks."""
    given_headers = headers(BODY)
    del given_headers[header]
    with pytest.raises(MissingHeaderError, match=header):
        verify_delivery(given_headers, BODY, secret=SECRET, now=NOW)


def test_case_of_headers_does_not_matter() -> None:
    """Servers hand over header names in lower case."""
    lowered = {key.lower(): value for key, value in headers(BODY).items()}
    assert verify_delivery(lowered, BODY, secret=SECRET, now=NOW).data["name"] == "m"


@pytest.mark.parametrize(
    ("age_s", "accepted"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)]
)
def test_age_is_bounded_on_both_sides(age_s: int, accepted: bool) -> None:
    """A replay of an old delivery is refused, and so is one from the future."""
    signed = headers(BODY, at=NOW - timedelta(seconds=age_s))
    if accepted:
        assert verify_delivery(signed, BODY, secret=SECRET, now=NOW).event in EVENTS
    else:
        with pytest.raises(StaleDeliveryError):
            verify_delivery(signed, BODY, secret=SECRET, now=NOW)


def test_size_is_checked_before_anything_is_computed() -> None:
    """A body beyond the limit is refused even where it carries no headers at all."""
    with pytest.raises(OversizedDeliveryError):
        verify_delivery({}, b"x" * (LARGEST_BODY + 1), secret=SECRET, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"entity": "model_version", "action": "created"}',
        b'{"entity": "model_version", "action": "created", "data": []}',
        b'{"entity": 1, "action": "created", "data": {}}',
        b"[" * 100_000,
    ],
    ids=["empty", "not text", "list", "no event", "no data", "data list", "number", "deep"],
)
def test_a_signed_body_that_is_no_event_is_malformed(body: bytes) -> None:
    """A right signature does not make a body an event."""
    with pytest.raises(MalformedDeliveryError):
        verify_delivery(headers(body), body, secret=SECRET, now=NOW)


@pytest.mark.parametrize("timestamp", ["", "soon", "-1", "1.5", "9" * 12, "١٢٣"])
def test_a_signed_time_that_is_no_time_is_refused(timestamp: str) -> None:
    """Times that are not seconds since 1970 are refused rather than guessed at."""
    signed = {
        ID_HEADER: "d",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(SECRET, "d", timestamp, BODY),
    }
    with pytest.raises((MalformedDeliveryError, MissingHeaderError)):
        verify_delivery(signed, BODY, secret=SECRET, now=NOW)


@given(body=st.binary(max_size=200), values=st.lists(st.text(), min_size=3, max_size=3))
def test_anything_unsigned_is_refused_with_a_code(body: bytes, values: list[str]) -> None:
    """No request makes the check fail in any way but its own errors."""
    given_headers = dict(zip((ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER), values, strict=True))
    with pytest.raises((ForgedDeliveryError, MissingHeaderError)):
        verify_delivery(given_headers, body, secret=SECRET, now=NOW)


EXPECTED_HINTS = {
    "registered_model.created": Hint(name="torch_mlp"),
    "model_version.created": Hint(name="torch_mlp", number=1),
    "model_version.created.copied": Hint(name="torch_prod", number=1),
    "model_version_tag.set": Hint(name="torch_mlp", number=1),
    "model_version_tag.deleted": Hint(name="torch_mlp", number=1),
    "model_version_alias.created": Hint(name="torch_mlp", number=1),
    "model_version_alias.created.moved": Hint(name="torch_mlp", number=2),
    "model_version_alias.deleted": Hint(name="torch_mlp"),
}


@pytest.mark.parametrize(("stem", "hint"), EXPECTED_HINTS.items(), ids=str)
def test_hints_of_captured_deliveries(stem: str, hint: Hint) -> None:
    """Each real event points at the model, and at the version where it names one."""
    sent = captured(Path(__file__).parent / "payloads" / f"{stem}.json")
    delivery = Delivery(
        delivery_id="d",
        event=f"{sent['body']['entity']}.{sent['body']['action']}",
        signed_at=NOW,
        data=sent["body"]["data"],
    )
    assert hint_of(delivery) == hint


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model_version_tag.set", {"name": "m", "version": "1", "key": "conch.status"}),
        ("model_version_tag.deleted", {"name": "m", "version": "1", "key": "conch.status"}),
        ("prompt.created", {"name": "p"}),
        ("budget_policy.exceeded", {}),
    ],
    ids=["own tag", "own tag removed", "prompt", "budget"],
)
def test_events_of_no_interest_give_no_hint(name: str, data: dict[str, Any]) -> None:
    """What conch itself wrote, and what is not about models, wakes nobody."""
    delivery = Delivery(delivery_id="d", event=name, signed_at=NOW, data=data)
    assert hint_of(delivery) is None


@pytest.mark.parametrize(
    "data",
    [{}, {"name": ""}, {"name": 3, "version": "1"}, {"name": "m"}, {"name": "m", "version": "x"}],
    ids=str,
)
def test_an_event_that_points_nowhere_is_malformed(data: dict[str, Any]) -> None:
    """A version event without a model and a number is refused."""
    delivery = Delivery(delivery_id="d", event="model_version.created", signed_at=NOW, data=data)
    with pytest.raises(MalformedDeliveryError):
        hint_of(delivery)
