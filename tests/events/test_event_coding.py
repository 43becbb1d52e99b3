"""Events: their rules, and JSON bytes and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.events import (
    Event,
    Exposure,
    Feedback,
    FeedbackKind,
    InvalidEventError,
    Metric,
    Prediction,
    UnknownSchemaError,
    decode,
    encode,
)

ids = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=9)
times = st.floats(0, 4e9)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ids, inner, max_size=3),
    max_leaves=6,
)
served = {"model": ids, "slot": ids, "ordinal": st.integers(1, 9), "build_id": ids}
common = {"event_id": ids, "received_at": times}

exposures = st.builds(
    Exposure,
    **common,
    **served,
    occurred_at=times,
    unit_given=st.booleans(),
    propensity=st.none() | st.floats(1e-6, 1),
    latency_ms=st.none() | st.floats(0, 1e6),
    status=st.none() | st.integers(0, 599),
)
predictions = st.builds(
    Prediction,
    **common,
    **served,
    occurred_at=times,
    features=st.none() | st.dictionaries(ids, values, max_size=3),
    output=values,
    score=st.none() | numbers,
)
metrics = st.builds(
    Metric, **common, occurred_at=times, name=ids, value=numbers, unit_hash=ids, model=ids
)
feedback = st.builds(
    Feedback,
    **common,
    prediction_id=ids,
    observed_at=times,
    source=ids,
    label=values.filter(lambda value: value is not None),
    feedback=st.sampled_from(FeedbackKind),
    trust=st.floats(0, 1),
    revision=st.integers(0, 9),
    weight=st.floats(1e-3, 9),
)


@given(event=st.one_of(exposures, predictions, metrics, feedback))
def test_coding_round_trip(event: Event) -> None:
    """Any event survives JSON bytes, and the same event always gives the same bytes."""
    data = encode(event)

    assert decode(data) == event
    assert encode(decode(data)) == data
    assert b"\0" not in data  # no event can look like the head of a frame


FEEDBACK: dict[str, Any] = {
    "event_id": "f1",
    "prediction_id": "p1",
    "observed_at": 10.0,
    "received_at": 11.0,
    "source": "web",
    "label": 1,
}
EXPOSURE: dict[str, Any] = {
    "event_id": "x1",
    "occurred_at": 10.0,
    "received_at": 11.0,
    "model": "digits",
    "slot": "a",
    "ordinal": 1,
}
PREDICTION = EXPOSURE
METRIC: dict[str, Any] = {
    "event_id": "m1",
    "occurred_at": 10.0,
    "received_at": 11.0,
    "name": "revenue",
    "value": 2.5,
    "unit_hash": "abc",
}


@pytest.mark.parametrize(
    ("cls", "base", "change", "field"),
    [
        (Exposure, EXPOSURE, {"event_id": ""}, "event_id"),
        (Exposure, EXPOSURE, {"event_id": "x" * 201}, "event_id"),
        (Exposure, EXPOSURE, {"event_id": "a\nb"}, "event_id"),
        (Exposure, EXPOSURE, {"event_id": 7}, "event_id"),
        (Exposure, EXPOSURE, {"occurred_at": float("nan")}, "occurred_at"),
        (Exposure, EXPOSURE, {"occurred_at": 1.7e12}, "occurred_at"),  # milliseconds
        (Exposure, EXPOSURE, {"received_at": -1.0}, "received_at"),
        (Exposure, EXPOSURE, {"ordinal": 0}, "ordinal"),
        (Exposure, EXPOSURE, {"ordinal": True}, "ordinal"),
        (Exposure, EXPOSURE, {"propensity": 0.0}, "propensity"),
        (Exposure, EXPOSURE, {"propensity": 1.5}, "propensity"),
        (Exposure, EXPOSURE, {"latency_ms": -1.0}, "latency_ms"),
        (Exposure, EXPOSURE, {"status": -1}, "status"),
        (Exposure, EXPOSURE, {"stage": -1}, "stage"),
        (Exposure, EXPOSURE, {"unit_given": 1}, "unit_given"),
        (Prediction, PREDICTION, {"features": [1]}, "features"),
        (Prediction, PREDICTION, {"features": {}, "features_ref": "s3://x"}, "features_ref"),
        (Prediction, PREDICTION, {"score": float("inf")}, "score"),
        (Metric, METRIC, {"value": float("nan")}, "value"),
        (Metric, METRIC, {"unit_hash": ""}, "unit_hash"),
        (Feedback, FEEDBACK, {"label": None}, "label"),
        (Feedback, FEEDBACK, {"reward": 1.0}, "label"),
        (Feedback, FEEDBACK, {"trust": 1.1}, "trust"),
        (Feedback, FEEDBACK, {"weight": 0.0}, "weight"),
        (Feedback, FEEDBACK, {"revision": -1}, "revision"),
        (Feedback, FEEDBACK, {"revision": 0.5}, "revision"),
        (Feedback, FEEDBACK, {"feedback": "guess"}, "feedback"),
    ],
)
def test_rules(cls: type[Event], base: dict[str, Any], change: dict[str, Any], field: str) -> None:
    """A value that a field cannot have is refused under a code that names the field."""
    cls(**base)

    with pytest.raises(InvalidEventError) as refused:
        cls(**{**base, **change})

    assert refused.value.code == "event-invalid"
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"v": 2}, "event-schema-unknown"),
        ({"v": None}, "event-schema-unknown"),
        ({"kind": "guess"}, "event-schema-unknown"),
        ({"colour": "red"}, "event-invalid"),
        ({"source": ""}, "event-invalid"),
        ({"feedback": "guess"}, "event-invalid"),
    ],
)
def test_strict_reading(change: dict[str, Any], code: str) -> None:
    """Bytes of another schema, kind, field or value are refused, never half understood."""
    body = json.loads(encode(Feedback(**FEEDBACK)))

    with pytest.raises((InvalidEventError, UnknownSchemaError)) as refused:
        decode(json.dumps({**body, **change}).encode())

    assert refused.value.code == code


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b"\xff", b'{"v":1,"kind":"metric"}'])
def test_no_event(data: bytes) -> None:
    """Bytes that are no event are refused."""
    with pytest.raises(InvalidEventError):
        decode(data)


@pytest.mark.parametrize("label", [float("nan"), [float("inf")], {"a": object()}, "\ud800", {1, 2}])
def test_values_json_cannot_carry(label: Any) -> None:
    """A label that JSON cannot carry is refused when it is encoded."""
    with pytest.raises(InvalidEventError):
        encode(Feedback(**{**FEEDBACK, "label": label}))
