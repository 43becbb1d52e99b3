"""Keeping MLflow's webhook: created where there is none, repaired where it differs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from conch.core import InvalidValueError

NAME: Final = "conch"


class WebhookAction(StrEnum):
    """What was done."""

    CREATED = "created"
    REPAIRED = "repaired"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSeen:
    """A webhook as MLflow shows it.

    Attributes:
        differences: What `ensure_webhook` would put right, in words; empty where all is in order.
    """

    webhook_id: str
    name: str
    url: str
    events: tuple[str, ...]
    differences: tuple[str, ...]


class WebhookClient(Protocol):
    """The part of `mlflow.MlflowClient` that keeps webhooks."""

    def list_webhooks(self, max_results: int | None = None, page_token: str | None = None) -> Any:
        """Return one page."""
        ...

    def create_webhook(
        self, name: str, url: str, events: Any, description: str | None, secret: str | None
    ) -> Any:
        """Create an active webhook."""
        ...

    def update_webhook(self, webhook_id: str, **changes: Any) -> Any:
        """Change the given fields."""
        ...


def ensure_webhook(
    client: WebhookClient, url: str, secret: str, events: Iterable[str]
) -> WebhookAction:
    """Make MLflow send exactly these events to `url`, signed with `secret`.

    The webhook is recognised by its URL, or else by the name `conch`, so that a moved address
    repairs the old webhook rather than leaving it behind. MLflow never shows a secret again;
    its description carries a fingerprint, from which a changed secret is told.

    Raises:
        InvalidValueError: The secret is shorter than 16 characters.
    """
    if len(secret) < 16:
        raise InvalidValueError(
            "The webhook secret is shorter than 16 characters.",
            hint="Make one with: openssl rand -hex 32.",
        )
    wanted = sorted(set(events))
    description = _description(secret)
    found = _find(client, url)
    if found is None:
        client.create_webhook(
            name=NAME, url=url, events=wanted, description=description, secret=secret
        )
        return WebhookAction.CREATED
    if not _differences(found, url=url, secret=secret, events=wanted):
        return WebhookAction.KEPT
    client.update_webhook(
        found.webhook_id,
        name=NAME,
        url=url,
        events=wanted,
        description=description,
        secret=secret,
        status="ACTIVE",
    )
    return WebhookAction.REPAIRED


def find_webhook(
    client: WebhookClient, url: str, secret: str, events: Iterable[str]
) -> WebhookSeen | None:
    """Return the webhook that `ensure_webhook` would keep, as it is; None where there is none."""
    found = _find(client, url)
    if found is None:
        return None
    return WebhookSeen(
        webhook_id=found.webhook_id,
        name=found.name,
        url=found.url,
        events=tuple(sorted(str(event) for event in found.events)),
        differences=_differences(found, url=url, secret=secret, events=sorted(set(events))),
    )


def _differences(found: Any, *, url: str, secret: str, events: list[str]) -> tuple[str, ...]:
    checks = {
        f"it calls {found.url}": found.url == url,
        "its secret is another, or its description was changed": (
            found.description == _description(secret)
        ),
        "its events are others": sorted(str(event) for event in found.events) == events,
        f"it is {str(found.status).lower()}": str(found.status) == "ACTIVE",
    }
    return tuple(words for words, same in checks.items() if not same)


def _description(secret: str) -> str:
    return f"Tells conch where to look. Secret {_fingerprint(secret)}."


def _find(client: WebhookClient, url: str) -> Any | None:
    """Return the webhook to keep: by URL first, then by name, the oldest of equals."""
    webhooks: list[Any] = []
    token: str | None = None
    while True:
        page = client.list_webhooks(max_results=100, page_token=token)
        webhooks += page
        token = page.token
        if not token:
            break
    webhooks.sort(key=lambda hook: (hook.url != url, hook.creation_timestamp, hook.webhook_id))
    return next((hook for hook in webhooks if hook.url == url or hook.name == NAME), None)


def _fingerprint(secret: str) -> str:
    """Return 32 bits that differ between secrets and say nothing else about one."""
    return hmac.new(secret.encode(), b"conch webhook fingerprint", hashlib.sha256).hexdigest()[:8]
