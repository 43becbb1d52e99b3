"""Bringing the platform up says what is in the way, and which settings it runs with are kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from conch import local
from conch.control import platform
from conch.control.settings import ApiSettings, read_settings, running_settings


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
