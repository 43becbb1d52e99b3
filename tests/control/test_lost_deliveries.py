"""MLflow loses deliveries in four ordinary situations; the sweep covers each of them."""

from __future__ import annotations

import http.client
import itertools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_platform import write_scaling
from mlflow.tracking import MlflowClient
from mlflow_fixtures import MlflowServer, free_port, running_mlflow
from mlflow_planes import MlflowPlane, running_mlflow_plane
from platform_fixtures import until

from conch.control.registry import MlflowRegistry
from conch.control.state import ReceivedDelivery

pytestmark = pytest.mark.real


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_scaling(tmp_path / "model.onnx", factor=2.0)
    return tmp_path / "model.onnx"


@pytest.fixture
def name() -> str:
    return f"lost-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def server(mlflow_server: MlflowServer) -> Iterator[MlflowServer]:
    """The session's server, without webhooks before and after."""
    yield mlflow_server
    for hook in mlflow_server.client.list_webhooks():
        mlflow_server.client.delete_webhook(hook.webhook_id)


def test_nothing_is_lost_where_all_is_well(
    server: MlflowServer, model: Path, name: str, tmp_path: Path
) -> None:
    """The control: a registration is delivered, and taken up without a sweep being asked for."""
    with running_mlflow_plane(tmp_path / "home", server.uri) as plane:
        _subscribe(plane, server)
        version = plane.registry.register_path(name, model)
        until(lambda: plane.takes_up(name, version.number))
        assert _delivered(plane, name)


def test_the_receiver_was_down(
    server: MlflowServer, model: Path, name: str, tmp_path: Path
) -> None:
    """MLflow gives up after four tries; the first sweep after the start finds the version."""
    port = free_port()
    with running_mlflow_plane(tmp_path / "home", server.uri, port=port) as plane:
        _subscribe(plane, server)
        registry, url = plane.registry, plane.plane.settings.webhook_url
    version = registry.register_path(name, model)
    gave_up = f"Failed to send webhook to {url} for event model_version.created"
    until(lambda: gave_up in server.log, timeout_s=60)
    with running_mlflow_plane(tmp_path / "home", server.uri, port=port) as plane:
        until(lambda: plane.takes_up(name, version.number))
        assert "model_version.created" not in {one.event for one in _delivered(plane, name)}


def test_the_cache_held_no_webhook(model: Path, name: str, tmp_path: Path) -> None:
    """A webhook is not called while MLflow remembers that there was none; the sweep is certain."""
    (tmp_path / "mlflow").mkdir()
    for_ever = {"MLFLOW_WEBHOOK_CACHE_TTL": "3600"}
    with running_mlflow(tmp_path / "mlflow", environment=for_ever) as server:
        MlflowRegistry(server.uri).register_path(name, model)  # MLflow looks, and finds none
        with running_mlflow_plane(tmp_path / "home", server.uri) as plane:
            plane.wait_connected()
            version = plane.registry.register_path(name, model)
            server.client.set_registered_model_alias(name, "later", version.number)  # not cached
            until(lambda: bool(_delivered(plane, name)))
            assert {one.event for one in _delivered(plane, name)} == {"model_version_alias.created"}
            plane.plane.sweep()
            assert plane.takes_up(name, version.number)


def test_several_workers_had_no_key(model: Path, name: str, tmp_path: Path) -> None:
    """Each worker makes up a key, and only the one that took the webhook can read its secret."""
    (tmp_path / "mlflow").mkdir()
    keyless = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": ""}
    with (
        running_mlflow(tmp_path / "mlflow", workers=2, environment=keyless) as server,
        running_mlflow_plane(tmp_path / "home", server.uri) as plane,
    ):
        plane.wait_connected()
        source = plane.registry.register_path(name, model).source
        for number in itertools.count(2):
            _create_version(server, name, source)
            if "Failed to deliver webhook for event model_version.created" in server.log:
                break
            assert number < 100, "MLflow delivered them all"
        plane.plane.sweep()
        every = set(range(1, number + 1))
        assert {one for one in every if plane.version(name, one) is not None} == every
        assert {one.number for one in _delivered(plane, name)} - {None} < every
        assert plane.takes_up(name, number)


def test_the_client_wrote_to_the_database(
    server: MlflowServer, model: Path, name: str, tmp_path: Path
) -> None:
    """Whoever talks to MLflow's database directly passes by what delivers; not by the sweep."""
    url = f"sqlite:///{server.root / 'mlflow.db'}"
    direct = MlflowClient(tracking_uri=url, registry_uri=url)
    with running_mlflow_plane(tmp_path / "home", server.uri) as plane:
        _subscribe(plane, server)
        logged = plane.registry.register_path(f"{name}-source", model).model_id
        source = server.client.get_logged_model(logged).artifact_location
        direct.create_registered_model(name)
        version = direct.create_model_version(name, source)
        server.client.create_registered_model(f"{name}-after")
        until(lambda: bool(_delivered(plane, f"{name}-after")))
        assert not _delivered(plane, name)
        plane.plane.sweep()
        assert plane.takes_up(name, int(version.version))


def _delivered(plane: MlflowPlane, name: str) -> list[ReceivedDelivery]:
    return [one for one in plane.deliveries if one.name == name]


def _subscribe(plane: MlflowPlane, server: MlflowServer) -> None:
    """Return once MLflow, which caches its webhooks for a second here, delivers."""
    plane.wait_connected()

    def probe() -> bool:
        server.client.create_registered_model(f"probe-{uuid.uuid4().hex}")
        return bool(plane.deliveries)

    until(probe)


def _create_version(server: MlflowServer, name: str, source: str) -> None:
    """Create a version over a connection of its own, so that any worker may take it."""
    connection = http.client.HTTPConnection(server.uri.removeprefix("http://"), timeout=30)
    connection.request(
        "POST",
        "/api/2.0/mlflow/model-versions/create",
        json.dumps({"name": name, "source": source, "model_id": source.removeprefix("models:/")}),
        {"content-type": "application/json", "connection": "close"},
    )
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
