"""`conch mlflow`: how conch is tied to its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .printing import answer, facts
from .sessions import Home, Output, Session, session_of

if TYPE_CHECKING:
    from ..settings import Settings

app = typer.Typer(help="How conch is tied to MLflow.", no_args_is_help=True)

Url = Annotated[
    str | None,
    typer.Option(help="Where MLflow reaches the control API.  [default: where it listens]"),
]

_NEEDS = (
    ("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "a fixed Fernet key, the same for all its workers"),
    ("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https, where conch has no https address"),
    ("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true, where conch has a private address"),
)


@app.command("connect")
def connect(
    context: typer.Context, url: Url = None, home: Home = None, output: Output = None
) -> None:
    """Have MLflow call conch: create its webhook, or put it right; can be repeated."""
    from ..receiving import WebhooksOffError
    from ..registry import WebhookAction

    session = session_of(context, home, output)
    settings, secret, address = _ends(session, url)
    if settings.mlflow.webhooks == "off":
        raise WebhooksOffError("conch takes no webhooks.", hint="Set `mlflow.webhooks`.")
    action = _registry(settings).ensure_webhook(address, secret)
    did = {
        WebhookAction.CREATED: "created; it may miss events for the first minute",
        WebhookAction.REPAIRED: "put right",
        WebhookAction.KEPT: "in order already",
    }[action]
    value = {"mlflow_url": settings.mlflow_uri, "webhook_url": address, "action": str(action)}
    answer(
        session,
        {**value, "server_settings": dict(_NEEDS)},
        facts((("MLflow", settings.mlflow_uri), ("webhook", did), ("calls", address))),
        "",
        "The MLflow server must have been started with:",
        facts(_NEEDS),
    )


@app.command("status")
def status(
    context: typer.Context, url: Url = None, home: Home = None, output: Output = None
) -> None:
    """Show whether MLflow calls conch; exits with 1 where its webhook is absent or differs."""
    session = session_of(context, home, output)
    settings, secret, address = _ends(session, url)
    seen = _registry(settings).webhook(address, secret)
    inside = _inside(session)
    differences = ["there is none"] if seen is None else list(seen.differences)
    value = {
        "mlflow_url": settings.mlflow_uri,
        "webhook_url": address,
        "in_order": not differences,
        "differences": differences,
        "control": inside,
    }
    state = "in order" if not differences else f"{'; '.join(differences)}: conch mlflow connect"
    rows = [("MLflow", settings.mlflow_uri), ("webhook", state), ("calls", address)]
    if inside is not None:
        rows += [
            ("registry seen", inside["swept_at"]),
            ("deliveries within an hour", inside["deliveries"]),
            ("last delivery", inside["last_delivery_at"]),
        ]
    answer(session, value, facts(rows))
    if differences:
        raise typer.Exit(Exit.FAILED)


def _ends(session: Session, url: str | None) -> tuple[Settings, str, str]:
    """Return the settings, the secret, and the address that MLflow is to call."""
    from ..keys import WEBHOOK_NAME, ensure_key
    from ..settings import webhook_address

    settings = session.running()
    secret = ensure_key(settings.home, WEBHOOK_NAME)
    return settings, secret, webhook_address(url) if url else settings.webhook_url


def _registry(settings: Settings) -> Any:
    from ..registry import MlflowRegistry

    return MlflowRegistry(settings.mlflow_uri, timeout=settings.mlflow.timeout_s)


def _inside(session: Session) -> dict[str, Any] | None:
    """Return what the control plane says; None where it does not answer."""
    from conch.core import ConchError

    try:
        with session.client() as client:
            return client.mlflow()
    except ConchError:
        return None
