"""Webhooks against a real MLflow server: kept as wanted, delivered, verified."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx
import pytest
from cryptography.fernet import Fernet
from mlflow_fixtures import MlflowServer, running_mlflow, scaling_onnx

from conch.control.registry import (
    EVENTS,
    ForgedDeliveryError,
    Hint,
    MlflowRegistry,
    RegistryRefusedError,
    RegistryUnavailableError,
    VersionNotFoundError,
    WebhookAction,
    hint_of,
    verify_delivery,
)
from conch.core import InvalidValueError

pytestmark = pytest.mark.real

SECRET = "not-a-secret-but-long-enough"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """An HTTP server that takes every delivery.

    Attributes:
        deliveries: Headers and raw body of each, in the order of arrival.
    """

    url: str
    deliveries: queue.Queue[tuple[dict[str, str], bytes]] = field(default_factory=queue.Queue)


@contextmanager
def receiving() -> Iterator[Receiver]:
    taken: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.put((dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Receiver(url=f"http://127.0.0.1:{server.server_port}/hooks", deliveries=taken)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def registry(mlflow_server: MlflowServer) -> Iterator[MlflowRegistry]:
    yield MlflowRegistry(mlflow_server.uri)
    for hook in mlflow_server.client.list_webhooks():
        mlflow_server.client.delete_webhook(hook.webhook_id)


def hooks(server: MlflowServer) -> list[Any]:
    return list(server.client.list_webhooks())


def test_a_registration_is_delivered_and_verified(
    mlflow_server: MlflowServer, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """A version registered in MLflow arrives as a signed hint; conch's own tag as none."""
    onnx.save(scaling_onnx(), str(tmp_path / "model.onnx"))
    with receiving() as receiver:
        assert registry.ensure_webhook(receiver.url, SECRET) is WebhookAction.CREATED
        _until_subscribed(mlflow_server, receiver)
        version = registry.register_path("hooked", tmp_path / "model.onnx")
        registry.write_tags("hooked", version.number, {"conch.status": "built"})
        found: dict[str, Hint | None] = {}
        while not {"model_version.created", "model_version_tag.set"} <= found.keys():
            headers, body = receiver.deliveries.get(timeout=20)
            delivery = verify_delivery(headers, body, secret=SECRET, now=datetime.now(UTC))
            if delivery.data.get("name") == "hooked":
                found[delivery.event] = hint_of(delivery)
            with pytest.raises(ForgedDeliveryError):
                verify_delivery(headers, body + b" ", secret=SECRET, now=datetime.now(UTC))
    assert found["model_version.created"] == Hint(name="hooked", number=version.number)
    assert found["model_version_tag.set"] is None


def test_a_test_delivery_points_at_nothing(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    """MLflow's test button sends a signed hint at a model that the registry does not know."""
    with receiving() as receiver:
        registry.ensure_webhook(receiver.url, SECRET, ["model_version.created"])
        result = mlflow_server.client.test_webhook(hooks(mlflow_server)[0].webhook_id)
        assert result.success
        headers, body = receiver.deliveries.get(timeout=20)
    hint = hint_of(verify_delivery(headers, body, secret=SECRET, now=datetime.now(UTC)))
    assert hint is not None
    assert hint.number is not None
    with pytest.raises(VersionNotFoundError):
        registry.version(hint.name, hint.number)


def test_a_webhook_is_created_once(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    """Connecting twice leaves one webhook, with every event about models, and changes nothing."""
    url = "http://127.0.0.1:9/hooks"
    assert registry.ensure_webhook(url, SECRET) is WebhookAction.CREATED
    assert registry.ensure_webhook(url, SECRET) is WebhookAction.KEPT
    [hook] = hooks(mlflow_server)
    assert (hook.name, hook.url, str(hook.status)) == ("conch", url, "ACTIVE")
    assert {str(event) for event in hook.events} == set(EVENTS)
    assert SECRET not in hook.description


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://127.0.0.1:10/moved"},
        {"status": "DISABLED"},
        {"events": ["model_version.created"]},
        {"name": "renamed"},
        {"description": "changed"},
    ],
    ids=str,
)
def test_a_changed_webhook_is_repaired(
    change: dict[str, Any], mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    """Whatever somebody changed is put back, in place; a new name alone is left as it is."""
    url = "http://127.0.0.1:9/hooks"
    registry.ensure_webhook(url, SECRET)
    [before] = hooks(mlflow_server)
    mlflow_server.client.update_webhook(before.webhook_id, **change)
    expected = WebhookAction.KEPT if "name" in change else WebhookAction.REPAIRED
    assert registry.ensure_webhook(url, SECRET) is expected
    [after] = hooks(mlflow_server)
    assert after.webhook_id == before.webhook_id
    assert (after.url, str(after.status)) == (url, "ACTIVE")
    assert {str(event) for event in after.events} == set(EVENTS)


def test_a_new_secret_is_a_repair(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    """Deliveries are signed with the new secret afterwards, although MLflow shows neither."""
    new = SECRET + "-2"
    with receiving() as receiver:
        registry.ensure_webhook(receiver.url, SECRET)
        assert registry.ensure_webhook(receiver.url, new) is WebhookAction.REPAIRED
        assert registry.ensure_webhook(receiver.url, new) is WebhookAction.KEPT
        mlflow_server.client.test_webhook(hooks(mlflow_server)[0].webhook_id)
        headers, body = receiver.deliveries.get(timeout=20)
    assert verify_delivery(headers, body, secret=new, now=datetime.now(UTC)).event in EVENTS


def test_other_peoples_webhooks_are_left_alone(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    """A webhook of another name to another address is none of conch's business."""
    mlflow_server.client.create_webhook(
        name="chat", url="http://127.0.0.1:11/chat", events=["model_version.created"]
    )
    registry.ensure_webhook("http://127.0.0.1:9/hooks", SECRET)
    assert {hook.name for hook in hooks(mlflow_server)} == {"chat", "conch"}


def test_a_short_secret_is_refused(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    """A secret that can be guessed creates no webhook."""
    with pytest.raises(InvalidValueError, match="16 characters"):
        registry.ensure_webhook("http://127.0.0.1:9/hooks", "short")
    assert hooks(mlflow_server) == []


def test_an_address_that_mlflow_does_not_call_is_explained(registry: MlflowRegistry) -> None:
    """The refusal names the settings of the server that decide about addresses."""
    with pytest.raises(RegistryRefusedError) as caught:
        registry.ensure_webhook("ftp://example.org/hooks", SECRET)
    assert "MLFLOW_WEBHOOK_ALLOWED_SCHEMES" in caught.value.hint


def test_a_lost_encryption_key_is_explained(tmp_path: Path) -> None:
    """A server restarted with another key cannot list its webhooks; the error says what to do."""
    with running_mlflow(tmp_path) as server:
        MlflowRegistry(server.uri).ensure_webhook("http://127.0.0.1:9/hooks", SECRET)
    other = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    with (
        running_mlflow(tmp_path, environment=other) as server,
        pytest.raises(RegistryUnavailableError) as caught,
    ):
        MlflowRegistry(server.uri).ensure_webhook("http://127.0.0.1:9/hooks", SECRET)
    assert "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY" in caught.value.hint


def _until_subscribed(server: MlflowServer, receiver: Receiver) -> None:
    """Provoke deliveries until one arrives: MLflow caches its subscribers for a second here."""
    for attempt in range(40):
        server.client.create_registered_model(f"probe-{id(receiver)}-{attempt}")
        try:
            receiver.deliveries.get(timeout=0.5)
        except queue.Empty:
            continue
        return
    raise AssertionError("MLflow delivered nothing.")
