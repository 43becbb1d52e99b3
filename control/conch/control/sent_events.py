"""Events as people send them: read by hand, since a second has five thousand of them.

A sent event is a JSON object. What conch knows better (the hash of a unit, when it was received)
is not in it, and what is not an application's to say (exposures, predictions) is refused.

Metric:    {"kind": "metric", "id": "o-17", "name": "purchase", "value": 3.5, "unit": "user-7"}
Feedback:  {"kind": "feedback", "id": "f-9", "prediction_id": "018f...", "label": 4}

Optional: `at` (Unix seconds; when it was received, if missing); of a metric `model`, `request_id`
and, in place of `unit`, `prediction_id` of a request that named no unit; of feedback `reward` in
place of `label`, `source`, `feedback`, `trust`, `revision`, `weight` and `signature`. Without `id`
the event gets one, and sending it twice is two events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from conch.core import InvalidValueError
from conch.events import Event, Feedback, FeedbackKind, InvalidEventError, Metric, hash_unit

from .prediction_ids import new_prediction_id

MOST_EVENTS: Final = 10_000
"""The most events of one request; they are one durable write."""

_METRIC: Final = frozenset(
    {"kind", "id", "name", "value", "unit", "at", "model", "request_id", "prediction_id"}
)
_FEEDBACK: Final = frozenset(
    {"kind", "id", "prediction_id", "label", "reward", "source", "at", "feedback"}
    | {"trust", "revision", "weight", "signature"}
)
_KINDS: Final = {"metric": _METRIC, "feedback": _FEEDBACK}


class EventsInvalidError(InvalidValueError):
    """A sent event is not of the documented form; `details.line` names which, from 1."""

    code = "events-invalid"


def read_events(body: bytes, *, ndjson: bool, received_at: float) -> list[Event]:
    """Return the events of a request's body: all of them or none.

    Args:
        body: One JSON object, a JSON list of objects, or (NDJSON) an object on each line.
        ndjson: Whether it is NDJSON; empty lines are passed over.
        received_at: Unix seconds.

    Raises:
        EventsInvalidError: An event cannot be taken; nothing of the body is then.
    """
    events: list[Event] = []
    for number, value in _values(body, ndjson=ndjson):
        if len(events) == MOST_EVENTS:
            raise EventsInvalidError(
                f"A request takes {MOST_EVENTS} events; this one has more.",
                hint="Send them in several requests.",
                line=number,
            )
        try:
            events.append(read_event(value, received_at=received_at))
        except InvalidEventError as error:
            raise EventsInvalidError(
                f"Line {number}: {error.message}", hint=error.hint, line=number
            ) from error
    return events


def read_event(value: Mapping[str, Any], *, received_at: float) -> Event:
    """Return one event.

    Raises:
        InvalidEventError: It is not of the documented form.
    """
    if not isinstance(value, dict):
        raise InvalidEventError("An event is not a JSON object.")
    kind = value.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise InvalidEventError(
            f"The event's kind is {kind!r}.", hint="Send `metric` or `feedback`."
        )
    if not known.issuperset(value):
        unknown = ", ".join(sorted(set(value) - known))
        raise InvalidEventError(
            f"A {kind} has no {unknown}.", hint=f"It takes: {', '.join(sorted(known))}."
        )
    event_id = value.get("id")
    event_id = new_prediction_id() if event_id is None else event_id
    at = value.get("at")
    at = received_at if at is None else at
    if kind == "metric":
        return Metric(
            event_id=event_id,
            occurred_at=at,
            received_at=received_at,
            name=value.get("name", ""),
            value=value.get("value"),  # type: ignore[arg-type]  # checked by the class
            unit_hash=_unit_hash(value),
            model=value.get("model", ""),
            request_id=value.get("request_id", ""),
        )
    return Feedback(
        event_id=event_id,
        prediction_id=value.get("prediction_id", ""),
        observed_at=at,
        received_at=received_at,
        source=value.get("source", "api"),
        label=value.get("label"),
        reward=value.get("reward"),
        feedback=_feedback_kind(value.get("feedback", "explicit")),
        trust=value.get("trust", 1.0),
        revision=value.get("revision", 0),
        weight=value.get("weight", 1.0),
        signature=value.get("signature", ""),
    )


def _unit_hash(value: Mapping[str, Any]) -> str:
    """Return the unit's hash; a request that named no unit is its own, by the id that it got."""
    unit = value.get("unit") or value.get("request_id") or value.get("prediction_id")
    if not isinstance(unit, str) or not unit:
        raise InvalidEventError(
            "A metric names no unit.",
            hint="Send `unit` as the inference request did in x-conch-unit, or the `request_id` "
            "of a request without one.",
        )
    return hash_unit(unit)


def _feedback_kind(value: Any) -> FeedbackKind:
    try:
        return FeedbackKind(value)
    except ValueError as error:
        raise InvalidEventError(
            f"The event's feedback is {value!r}.", hint=f"Send one of {', '.join(FeedbackKind)}."
        ) from error


def _values(body: bytes, *, ndjson: bool) -> Sequence[tuple[int, Any]]:
    if ndjson:
        lines = ((n, line) for n, line in enumerate(body.split(b"\n"), 1) if line.strip())
        return [(number, _parsed(line, number)) for number, line in lines]
    value = _parsed(body, 1)
    return list(enumerate(value, 1)) if isinstance(value, list) else [(1, value)]


def _parsed(text: bytes, number: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventsInvalidError(
            f"Line {number} is not JSON: {error}.",
            hint="Send an object, a list of objects, or NDJSON as application/x-ndjson.",
            line=number,
        ) from error
