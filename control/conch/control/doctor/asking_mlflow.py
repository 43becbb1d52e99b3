"""What an MLflow server says of itself, and what it does for conch."""

from __future__ import annotations

import os
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

import httpx

from conch.core import ConchError

from ..keys import WEBHOOK_NAME, KeyMissingError, KeyUnsafeError, read_key
from ..registry import MlflowRegistry, RegistryRefusedError, RegistryUnavailableError
from ..settings import Settings
from .facts import MlflowFacts, WebhookFacts

_LONGEST_VERSION: Final = 32


def ask_mlflow(settings: Settings, *, deliver: bool) -> MlflowFacts:
    """Ask the server for its version, its clock, its registry and its webhooks.

    Args:
        settings: Which server, and what its webhook should be.
        deliver: Whether to have it make a test delivery, which the control plane has to take.
    """
    url, client = settings.mlflow_uri, version("mlflow-skinny")
    try:
        answer, skew_s = _ask_version(settings)
    except httpx.HTTPError as error:
        return MlflowFacts(url=url, client=client, problem=f"{type(error).__name__}: {error}")
    registry = MlflowRegistry(url, timeout=settings.mlflow.timeout_s)
    refused = ""
    try:
        registry.snapshot()
    except RegistryRefusedError as error:
        refused = error.message
    except ConchError as error:
        return MlflowFacts(url=url, client=client, problem=error.message, skew_s=skew_s)
    return MlflowFacts(
        url=url,
        client=client,
        refused=refused,
        version=answer,
        skew_s=skew_s,
        webhook=None if refused else _webhook(settings, registry, deliver=deliver),
    )


def skew_of(date: str, *, asked: datetime, answered: datetime) -> float | None:
    """Return how far a server's clock is ahead, in seconds; None where it sends no date.

    The header (RFC 9110, section 6.6.1) is cut to whole seconds, so half a second is added.

    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> skew_of("Sun, 01 Mar 2026 12:00:30 GMT", asked=noon, answered=noon + timedelta(seconds=1))
    30.0
    """
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return None
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    ours = asked + (answered - asked) / 2
    return (theirs + timedelta(seconds=0.5) - ours).total_seconds()


def _ask_version(settings: Settings) -> tuple[str, float | None]:
    asked = datetime.now(UTC)
    answer = httpx.get(
        f"{settings.mlflow_uri.rstrip('/')}/version",
        timeout=settings.mlflow.timeout_s,
        headers=_credentials(),
    )
    skew_s = skew_of(answer.headers.get("date", ""), asked=asked, answered=datetime.now(UTC))
    said = answer.text.strip() if answer.is_success else ""
    return (said if len(said) <= _LONGEST_VERSION else ""), skew_s


def _credentials() -> dict[str, str]:
    """Return the header that MLflow's own client would send, from the variables that it reads."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if not (user and password):
        return {}
    return {"authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def _webhook(settings: Settings, registry: MlflowRegistry, *, deliver: bool) -> WebhookFacts | None:
    url, kept = settings.webhook_url, settings.keeps_webhook
    if settings.mlflow.webhooks == "off":
        return None
    try:
        secret = read_key(settings.home, WEBHOOK_NAME)
        seen = registry.webhook(url, secret)
        if seen is None:
            return WebhookFacts(url=url, kept=kept, present=False)
        failed = registry.try_webhook(seen.webhook_id) if deliver and not seen.differences else ""
    except (KeyMissingError, KeyUnsafeError):
        return None  # nothing was connected yet, or the finding is about the key
    except RegistryRefusedError as error:
        return WebhookFacts(url=url, kept=kept, hidden=error.message)
    except RegistryUnavailableError as error:
        return WebhookFacts(url=url, kept=kept, unreadable=error.message)
    return WebhookFacts(url=url, kept=kept, differences=seen.differences, undelivered=failed)
