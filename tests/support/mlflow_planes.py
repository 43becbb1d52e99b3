"""A control plane with its real API that follows a real MLflow server; models go to memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from memory_platform import Workshop, served
from memory_target import MemoryTarget
from platform_fixtures import until

from conch.control.api import create_app
from conch.control.keys import WEBHOOK_NAME, ensure_key
from conch.control.plane import ControlPlane
from conch.control.registry import MlflowRegistry
from conch.control.settings import ApiSettings, MlflowSettings, read_settings
from conch.control.state import Database, ReceivedDelivery, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowPlane:
    """A control plane that runs, sweeps once an hour, and is called by MLflow."""

    plane: ControlPlane
    registry: MlflowRegistry

    @property
    def deliveries(self) -> list[ReceivedDelivery]:
        """What MLflow delivered."""
        with self.plane.database.begin() as tx:
            return tx.deliveries.find()

    def version(self, name: str, number: int) -> Version | None:
        """Return a version as conch knows it."""
        with self.plane.database.begin() as tx:
            return tx.versions.first(name=name, version=number)

    def takes_up(self, name: str, number: int) -> bool:
        """Tell whether conch has decided to build a version."""
        known = self.version(name, number)
        return known is not None and known.wanted

    def wait_connected(self) -> None:
        """Return once the webhook is in order."""
        subscription = self.plane.subscription
        assert subscription is not None
        until(lambda: subscription.kept_at is not None)


@contextmanager
def running_mlflow_plane(home: Path, mlflow_uri: str, *, port: int = 0) -> Iterator[MlflowPlane]:
    """Run a control plane for the block; started again in the same home, it goes on."""
    home.mkdir(exist_ok=True)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        target, registry = MemoryTarget(), MlflowRegistry(mlflow_uri, timeout=30)
        entry = stack.enter_context(target.entry())
        settings = read_settings(
            home=home,
            api=ApiSettings(
                control_port=listener.getsockname()[1], inference_port=int(entry.split(":")[-1])
            ),
            mlflow=MlflowSettings(uri=mlflow_uri, sweep_s=3600, webhooks="on"),
        )
        secret = ensure_key(home, WEBHOOK_NAME)
        plane = ControlPlane(
            settings=settings,
            database=Database(settings.database),
            registry=registry,
            target=target,
            workshop=Workshop(),
            webhook_secret=secret,
            keep_webhook=lambda: registry.ensure_webhook(settings.webhook_url, secret),
        )
        plane.start()
        stack.callback(plane.stop)
        stack.enter_context(served(create_app(plane, key=ensure_key(home)), listener))
        yield MlflowPlane(plane=plane, registry=registry)
