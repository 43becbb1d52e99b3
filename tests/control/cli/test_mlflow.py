"""`conch mlflow` against a real MLflow server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from mlflow_fixtures import MlflowServer

from conch.control.cli import Exit
from conch.control.keys import WEBHOOK_NAME
from conch.control.registry import EVENTS

pytestmark = pytest.mark.real


@pytest.fixture
def command_line(
    mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    monkeypatch.setenv("CONCH_MLFLOW__URI", mlflow_server.uri)
    yield CommandLine(home=tmp_path)
    for hook in mlflow_server.client.list_webhooks():
        mlflow_server.client.delete_webhook(hook.webhook_id)


def test_connecting_is_done_once_and_told(
    command_line: CommandLine, mlflow_server: MlflowServer
) -> None:
    """The webhook is created, then kept; what the server needs is said each time."""
    said = command_line.run("mlflow", "status")
    assert said.code == Exit.FAILED
    assert "conch mlflow connect" in said.out
    first = command_line.json("mlflow", "connect", "--url", "http://127.0.0.1:9/")
    assert first["action"] == "created"
    assert first["webhook_url"] == "http://127.0.0.1:9/v1/hooks/mlflow"
    assert "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY" in first["server_settings"]
    assert command_line.json("mlflow", "connect", "--url", "http://127.0.0.1:9")["action"] == "kept"
    [hook] = mlflow_server.client.list_webhooks()
    assert {str(event) for event in hook.events} == set(EVENTS)
    found = command_line.json("mlflow", "status", "--url", "http://127.0.0.1:9")
    assert found["in_order"]
    assert found["control"] is None  # no control plane runs in this home


def test_a_changed_webhook_is_shown_and_put_right(
    command_line: CommandLine, mlflow_server: MlflowServer
) -> None:
    """Status names each difference; connecting repairs them."""
    command_line.json("mlflow", "connect")
    [hook] = mlflow_server.client.list_webhooks()
    mlflow_server.client.update_webhook(hook.webhook_id, status="DISABLED", events=[EVENTS[0]])
    said = command_line.run("mlflow", "status", "--output", "json")
    assert said.code == Exit.FAILED
    assert json.loads(said.out)["differences"] == ["its events are others", "it is disabled"]
    assert command_line.json("mlflow", "connect")["action"] == "repaired"
    assert command_line.run("mlflow", "status").code == Exit.OK


def test_the_secret_is_the_owners_alone_and_never_shown(command_line: CommandLine) -> None:
    """It lies in the home, and no output holds it."""
    said = command_line.run("mlflow", "connect")
    path = command_line.home / WEBHOOK_NAME
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text().strip() not in said.out + said.err


def test_a_server_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the registry's code, and the command fails."""
    monkeypatch.setenv("CONCH_MLFLOW__URI", "http://127.0.0.1:9")
    said = CommandLine(home=tmp_path).run("mlflow", "connect")
    assert said.code == Exit.FAILED
    assert "registry-unavailable" in said.err


def test_webhooks_that_are_off_are_not_connected(
    command_line: CommandLine, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow is not made to call what would refuse."""
    monkeypatch.setenv("CONCH_MLFLOW__WEBHOOKS", "off")
    said = command_line.run("mlflow", "connect")
    assert said.code == Exit.FAILED
    assert "webhooks-off" in said.err
    assert list(mlflow_server.client.list_webhooks()) == []
