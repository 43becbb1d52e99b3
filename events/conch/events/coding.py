"""Events to JSON bytes and back, under a schema version.

The version goes up with any change of the fields, so that reading can be strict: bytes with a
field that this release does not know are refused instead of being half understood.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Final

from .errors import InvalidEventError, UnknownSchemaError
from .kinds import KINDS, Event, FeedbackKind, Kind

SCHEMA_VERSION: Final = 1

_FIELDS: Final = {cls: tuple(field.name for field in fields(cls)) for cls in KINDS.values()}
_TO_JSON: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=True, separators=(",", ":")
)


def encode(event: Event) -> bytes:
    """Return the event as one JSON object in UTF-8; equal events give equal bytes.

    Raises:
        InvalidEventError: A feature, output or label is not a JSON value (NaN is none).
    """
    body: dict[str, Any] = {"v": SCHEMA_VERSION, "kind": event.kind}
    for name in _FIELDS[type(event)]:
        body[name] = getattr(event, name)
    try:
        return _TO_JSON.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEventError(
            f"The {event.kind} {event.event_id!r} holds a value that JSON cannot carry: {error}.",
            hint="Send finite numbers, strings, lists and objects.",
        ) from error


def decode(data: bytes) -> Event:
    """Read what `encode` wrote.

    Raises:
        UnknownSchemaError: The version or the kind is unknown here.
        InvalidEventError: The bytes are no JSON object, or break the rules of the kind.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError(f"An event is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InvalidEventError("An event is not a JSON object.")
    return from_dict(body)


def from_dict(body: dict[str, Any]) -> Event:
    """Read an event from the JSON object that `encode` writes; `body` is left empty of its tags.

    Raises:
        UnknownSchemaError: The version or the kind is unknown here.
        InvalidEventError: A field is missing, unknown or out of range.
    """
    version, kind = body.pop("v", None), body.pop("kind", None)
    if version != SCHEMA_VERSION:
        raise UnknownSchemaError(
            f"An event has schema version {version!r}; this release reads {SCHEMA_VERSION}.",
            hint="Read it with the release that wrote it, or a later one.",
        )
    if kind not in _BY_NAME:
        raise UnknownSchemaError(f"An event has the unknown kind {kind!r}.")
    cls = _BY_NAME[kind]
    if kind == Kind.FEEDBACK and "feedback" in body:
        try:
            body["feedback"] = FeedbackKind(body["feedback"])
        except ValueError as error:
            raise InvalidEventError(
                f"Feedback is {body['feedback']!r}.",
                hint=f"Known are: {', '.join(FeedbackKind)}.",
                field="feedback",
            ) from error
    try:
        return cls(**body)
    except TypeError as error:
        raise InvalidEventError(f"The {kind} has missing or unknown fields: {error}.") from error


_BY_NAME: Final[dict[str, type[Event]]] = {kind.value: cls for kind, cls in KINDS.items()}
