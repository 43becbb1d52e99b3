"""Webhook deliveries from MLflow: who sent them, and where they say to look.

MLflow signs `<delivery id>.<timestamp>.<raw body>` with HMAC-SHA256 and sends the base64 of it as
`v1,<...>`. A retry repeats all three headers, so the delivery id is what to de-duplicate by and
the tolerance has to cover the sender's retries (four attempts in about 7 s were seen). Checked
against deliveries captured from MLflow 3.17.2.

A delivery is a hint, never a fact: order is not guaranteed, deliveries are lost, `run_id` may be
empty, and a test delivery names a model that does not exist and does not say that it is a test.
Whoever follows a hint asks the registry, and a version that the registry does not know is nothing
to do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from .errors import (
    ForgedDeliveryError,
    MalformedDeliveryError,
    MissingHeaderError,
    OversizedDeliveryError,
    StaleDeliveryError,
)
from .registered import OWN_PREFIX

ID_HEADER: Final = "X-MLflow-Delivery-Id"
TIMESTAMP_HEADER: Final = "X-MLflow-Timestamp"
SIGNATURE_HEADER: Final = "X-MLflow-Signature"

LARGEST_BODY: Final = 1_048_576
"""Bytes. An event is a name and a few tags; the largest tag of a version has 100,000 characters."""

TOLERANCE_S: Final = 300.0

EVENTS: Final = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
)
"""Every event about models that MLflow sends; it has none for deletion, renaming or stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery whose signature and age were checked.

    Attributes:
        delivery_id: The same for every retry.
        event: `<entity>.<action>`, such as `model_version.created`.
        signed_at: When MLflow first sent it, to the second.
        data: What the event says; see the module about how far to trust it.
    """

    delivery_id: str
    event: str
    signed_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Where something may have changed.

    Attributes:
        number: The version; None for the model as a whole.
    """

    name: str
    number: int | None = None


def verify_delivery(
    headers: Mapping[str, str],
    raw_body: bytes,
    *,
    secret: str,
    now: datetime,
    tolerance_s: float = TOLERANCE_S,
) -> Delivery:
    """Check a request that claims to come from MLflow, and read it.

    Args:
        headers: The request's headers; case does not matter.
        raw_body: The body exactly as received.
        secret: The secret that the webhook was created with.
        now: The present, with a time zone.
        tolerance_s: How far the signed time may lie from `now`, in seconds, either way.

    Raises:
        OversizedDeliveryError: The body is larger than `LARGEST_BODY`.
        MissingHeaderError: One of MLflow's three headers is absent.
        ForgedDeliveryError: The signature does not fit.
        StaleDeliveryError: The signed time is too far from `now`.
        MalformedDeliveryError: The body is not a registry event.
    """
    if not secret:
        raise ForgedDeliveryError(
            "A delivery cannot be checked without a secret.", hint="Set the webhook secret."
        )
    if len(raw_body) > LARGEST_BODY:
        raise OversizedDeliveryError(
            f"The delivery has {len(raw_body)} bytes; {LARGEST_BODY} are taken."
        )
    delivery_id, timestamp, signature = _signed_headers(headers)
    expected = sign(secret, delivery_id, timestamp, raw_body)
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise ForgedDeliveryError(
            f"The signature of delivery {delivery_id!r} does not fit the shared secret.",
            hint="Give MLflow the secret that conch has: conch mlflow connect.",
        )
    signed_at = _moment(timestamp)
    if abs((now - signed_at).total_seconds()) > tolerance_s:
        raise StaleDeliveryError(
            f"Delivery {delivery_id!r} was signed at {signed_at.isoformat()}.",
            hint=f"Clocks may differ by {tolerance_s:g} s; check that of the MLflow server.",
        )
    event, data = _content(raw_body)
    return Delivery(delivery_id=delivery_id, event=event, signed_at=signed_at, data=data)


def hint_of(delivery: Delivery) -> Hint | None:
    """Return where to look, or None where an event is of no interest.

    Events about prompts and budgets, and those that conch's own tags cause, are of none.

    Raises:
        MalformedDeliveryError: An event about a model names no model, or no version.
    """
    if delivery.event not in EVENTS:
        return None
    if str(delivery.data.get("key", "")).startswith(OWN_PREFIX):
        return None
    name = delivery.data.get("name")
    if not isinstance(name, str) or not name:
        raise MalformedDeliveryError(f"Delivery {delivery.delivery_id!r} names no model.")
    if delivery.event == "registered_model.created":
        return Hint(name=name)
    if delivery.event == "model_version_alias.deleted":
        return Hint(name=name)  # it says which alias went, but not from which version
    version = str(delivery.data.get("version", ""))
    if not (version.isascii() and version.isdigit()):
        raise MalformedDeliveryError(f"Delivery {delivery.delivery_id!r} names no version.")
    return Hint(name=name, number=int(version))


def sign(secret: str, delivery_id: str, timestamp: str, raw_body: bytes) -> str:
    """Return the signature header that MLflow sends for a delivery."""
    message = f"{delivery_id}.{timestamp}.".encode() + raw_body
    digest = hmac.new(secret.encode(), message, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _signed_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found = {key.lower(): value for key, value in headers.items()}
    names = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
    if absent := [name for name in names if not found.get(name.lower())]:
        raise MissingHeaderError(
            f"The delivery lacks {', '.join(absent)}.",
            hint="MLflow signs only where the webhook has a secret: conch mlflow connect.",
        )
    delivery_id, timestamp, signature = (found[name.lower()] for name in names)
    return delivery_id, timestamp, signature


def _moment(timestamp: str) -> datetime:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 11):
        raise MalformedDeliveryError(f"{timestamp!r} is not a time in seconds since 1970.")
    return datetime.fromtimestamp(int(timestamp), tz=UTC)


def _content(raw_body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        body = json.loads(raw_body)
    except (ValueError, RecursionError) as error:
        raise MalformedDeliveryError("The delivery's body is not JSON.") from error
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise MalformedDeliveryError("The delivery's body is not an event with data.")
    entity, action = body.get("entity"), body.get("action")
    if not isinstance(entity, str) or not isinstance(action, str):
        raise MalformedDeliveryError("The delivery's body names no entity or no action.")
    return f"{entity}.{action}", body["data"]
