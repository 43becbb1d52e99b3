"""Bringing the platform up says what is in the way, and which settings it runs with are kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from conch import local
from conch.control import platform
from conch.control.settings import (
    ApiSettings,
    SettingsInvalidError,
    read_settings,
    running_settings,
)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The message says which port, and by whom it is held."""
    if local.find() is None:
        pytest.skip("the serving runtime is not installed (conch runtime install)")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = read_settings(home=tmp_path / "home", api=ApiSettings(inference_port=port))
        with pytest.raises(platform.PortTakenError, match=f"Port {port} .*pid"):
            platform.prepare(settings, mlflow=False)
    assert not (tmp_path / "home").exists()


def test_a_missing_runtime_is_said_first(tmp_path: Path) -> None:
    """The message names the command that installs it."""
    with pytest.raises(local.RuntimeMissingError, match="conch runtime install"):
        platform.up(read_settings(home=tmp_path / "home"), runtime_root=tmp_path / "none")


def test_free_ports_replace_only_those_that_are_taken(tmp_path: Path) -> None:
    """What a person chose is kept where it is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        settings = read_settings(home=tmp_path, api=ApiSettings(inference_port=taken))
        found = platform.with_free_ports(settings)
    assert found.api.inference_port not in (0, taken)
    again = platform.with_free_ports(found)
    assert again == found


def test_the_settings_in_force_are_kept_for_others_to_read(tmp_path: Path) -> None:
    """Only the owner can read them, since a database URL may hold a password."""
    settings = read_settings(home=tmp_path, database_url="postgresql+psycopg://u:secret@h/d")
    settings.save()
    assert running_settings(tmp_path) == settings
    assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
    assert running_settings(tmp_path / "elsewhere") is None


def test_nothing_runs_in_an_empty_home(tmp_path: Path) -> None:
    """Status of a home that was never used is an answer, not an error."""
    status = platform.status(read_settings(home=tmp_path))
    assert not status.running
    assert not status.ready
    assert status.as_dict()["processes"] == []


def test_servers_of_somebody_else_take_the_place_of_a_slots_own(tmp_path: Path) -> None:
    """Their number is how many were named; gRPC is at the next port unless it is said."""
    servers = {
        "a": ({"http": "http://localhost:8000"}, {"http": "http://127.0.0.1:9000", "grpc_port": 7}),
    }
    settings = read_settings(home=tmp_path, serving={"servers": servers, "replicas": 3})
    found = platform.local_settings(settings)
    assert found.slots == {"a": 2, "b": 3}
    assert found.servers == {
        "a": (
            local.GivenServer(host="127.0.0.1", http_port=8000, grpc_port=8001),
            local.GivenServer(host="127.0.0.1", http_port=9000, grpc_port=7),
        )
    }
    assert local.LocalSettings.from_dict(found.as_dict()) == found


@pytest.mark.parametrize("slot", ["c", ""])
def test_servers_for_a_slot_that_is_not_there_are_refused(tmp_path: Path, slot: str) -> None:
    """The message names the slot; nothing is served from one that no release would use."""
    given = {"servers": {slot: ({"http": "http://127.0.0.1:8000"},)}}
    with pytest.raises(SettingsInvalidError, match=f"{slot!r}"):
        read_settings(home=tmp_path, serving=given)
