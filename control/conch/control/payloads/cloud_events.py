"""Reading what the logger of KServe's agent posts: CloudEvents 1.0 in binary mode over HTTP.

The attributes stand in headers, the body is the payload as it was (KServe `pkg/logger`; CloudEvents
HTTP Protocol Binding 1.0, 3.1). Request and answer carry the same `ce-id`, and `ce-source` is the
pod. Which model was asked stands nowhere: an InferenceService of conch's has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from conch.core import InvalidValueError

REQUEST: Final = "org.kubeflow.serving.inference.request"
RESPONSE: Final = "org.kubeflow.serving.inference.response"
_LONGEST: Final = 200


class PayloadInvalidError(InvalidValueError):
    """What was sent is none of the events of KServe's payload logger."""

    code = "payload-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request came to a pod.

    Attributes:
        id: The same on the request and on its answer.
        service: The InferenceService.
        pod: The pod.
        at_s: When it came, by the pod's clock, Unix seconds.
        infers: Whether it has a body, as every inference has; others ask for a model's metadata.
    """

    id: str
    service: str
    pod: str
    at_s: float
    infers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A pod answered with status 200; no other answer is told of.

    Attributes:
        id: The request's.
        service: The InferenceService.
        pod: The pod.
        at_s: When it did, by the pod's clock, Unix seconds.
    """

    id: str
    service: str
    pod: str
    at_s: float


PayloadEvent: TypeAlias = Asked | Answered


def read_payload(headers: Mapping[str, str], *, empty: bool) -> PayloadEvent:
    """Return what a delivery tells.

    Args:
        headers: Of the request, by lower-case name.
        empty: Whether its body is.

    Raises:
        PayloadInvalidError: An attribute is missing, or of another form.
    """
    if headers.get("ce-specversion") != "1.0":
        raise PayloadInvalidError(
            f"The header ce-specversion is {headers.get('ce-specversion')!r}, not '1.0'.",
            hint="This takes CloudEvents in binary mode, as KServe's payload logger posts them.",
        )
    kind, at_s = headers.get("ce-type"), _time(headers.get("ce-time", ""))
    given = {
        "id": _text(headers, "ce-id"),
        "service": _text(headers, "ce-inferenceservicename"),
        "pod": _text(headers, "ce-source"),
    }
    if kind == REQUEST:
        return Asked(**given, at_s=at_s, infers=not empty)
    if kind == RESPONSE:
        return Answered(**given, at_s=at_s)
    raise PayloadInvalidError(f"Events of the type {kind!r} are not taken.")


def _text(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not 0 < len(value) <= _LONGEST:
        raise PayloadInvalidError(
            f"The header {name} has {len(value)} characters; it takes 1 to {_LONGEST}."
        )
    return value


def _time(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise PayloadInvalidError(f"The header ce-time is {text!r}, which is no time.") from error
    if at.tzinfo is None:
        raise PayloadInvalidError(f"The header ce-time is {text!r}, without a time zone.")
    return at.timestamp()
