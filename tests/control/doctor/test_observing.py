"""What the doctor sees of real files, ports, databases, and a real MLflow server."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import CommandLine
from mlflow_fixtures import MlflowServer

from conch.control.cli import Exit
from conch.control.doctor import Facts, diagnose, observe
from conch.control.keys import KEY_NAMES, WEBHOOK_NAME, ensure_key
from conch.control.registry import MlflowRegistry
from conch.control.settings import ApiSettings, MlflowSettings, Settings, read_settings
from conch.control.state import Database


def settings_of(home: Path, **given: object) -> Settings:
    return read_settings(home=home, **given)


def codes(facts: Facts) -> set[str]:
    """Return what is found, but for what depends on the machine that the tests run on."""
    machine = {
        "build-same-user",
        "build-unconfined",
        "disk-full",
        "disk-low",
        "memory-low",
        "runtime-missing",
        "runtime-broken",
    }
    return {finding.code for finding in diagnose(facts)} - machine


@pytest.fixture
def no_runtime(tmp_path: Path) -> Path:
    """A folder without a runtime: looking at a real one takes seconds."""
    return tmp_path / "runtimes"


def test_a_home_that_was_never_used_is_well(tmp_path: Path, no_runtime: Path) -> None:
    """Nothing is made by looking, and only the runtime is missing."""
    facts = observe(settings_of(tmp_path / "home"), runtime_root=no_runtime)
    assert facts.home is None
    assert facts.runtime is None
    assert not (tmp_path / "home").exists()
    assert codes(facts) <= {"port-taken"}


def test_open_files_are_seen(tmp_path: Path, no_runtime: Path) -> None:
    """Home and keys that others can read, and a key without content."""
    for name in KEY_NAMES:
        ensure_key(tmp_path, name)
    tmp_path.chmod(0o755)
    (tmp_path / KEY_NAMES[0]).chmod(0o644)
    (tmp_path / KEY_NAMES[1]).write_text("")
    found = codes(observe(settings_of(tmp_path), runtime_root=no_runtime))
    assert {"home-open", "key-open", "key-empty"} <= found


def test_a_port_that_is_held_is_seen(tmp_path: Path, no_runtime: Path) -> None:
    """The finding names the setting, the port and the program."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = settings_of(tmp_path, api=ApiSettings(inference_port=port))
        facts = observe(settings, runtime_root=no_runtime)
    [held] = [one for one in facts.ports if one.port == port]
    assert held.setting == "api.inference_port"
    assert f"Port {port}" in held.held


def test_the_database_is_seen_as_it_is(tmp_path: Path, no_runtime: Path) -> None:
    """WAL, its schema, a schema of tomorrow, another journal mode, and a file that is none."""
    settings = settings_of(tmp_path)
    path = tmp_path / "conch.db"
    with closing(Database(settings.database)) as database:
        database.migrate()
    seen = observe(settings, runtime_root=no_runtime).database
    assert seen is not None
    assert (seen.journal_mode, seen.known, seen.problem) == ("wal", True, "")
    assert seen.revision is not None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    found = codes(observe(settings, runtime_root=no_runtime))
    assert {"database-journal", "database-newer"} <= found
    for leftover in tmp_path.glob("conch.db-*"):
        leftover.unlink()
    path.write_bytes(b"no database" * 1000)
    assert "database-unavailable" in codes(observe(settings, runtime_root=no_runtime))


def test_a_server_that_is_away_is_seen(tmp_path: Path, no_runtime: Path) -> None:
    """A server that the settings name, and that nobody runs."""
    settings = settings_of(tmp_path, mlflow=MlflowSettings(uri="http://127.0.0.1:9"))
    assert "mlflow-unreachable" in codes(observe(settings, runtime_root=no_runtime))


@pytest.mark.real
class TestWithMlflow:
    """Against a real server."""

    @pytest.fixture
    def settings(self, tmp_path: Path, mlflow_server: MlflowServer) -> Iterator[Settings]:
        ensure_key(tmp_path, WEBHOOK_NAME)
        yield settings_of(tmp_path, mlflow=MlflowSettings(uri=mlflow_server.uri, timeout_s=30))
        for hook in mlflow_server.client.list_webhooks():
            mlflow_server.client.delete_webhook(hook.webhook_id)

    def test_the_server_is_seen(self, settings: Settings, no_runtime: Path) -> None:
        """Version and clock come from its answers; without a webhook there is a note."""
        facts = observe(settings, runtime_root=no_runtime)
        assert facts.mlflow is not None
        assert facts.mlflow.version == facts.mlflow.client
        assert facts.mlflow.skew_s is not None
        assert abs(facts.mlflow.skew_s) < 2
        assert codes(facts) - {"port-taken"} == {"webhook-absent"}

    def test_the_webhook_is_seen(
        self, settings: Settings, no_runtime: Path, mlflow_server: MlflowServer
    ) -> None:
        """One in order is no finding, and one that was switched off is."""
        secret = ensure_key(settings.home, WEBHOOK_NAME)
        MlflowRegistry(mlflow_server.uri).ensure_webhook(settings.webhook_url, secret)
        assert codes(observe(settings, runtime_root=no_runtime)) <= {"port-taken"}
        [hook] = mlflow_server.client.list_webhooks()
        mlflow_server.client.update_webhook(hook.webhook_id, status="DISABLED")
        assert "webhook-differs" in codes(observe(settings, runtime_root=no_runtime))

    def test_a_delivery_that_fails_is_told(
        self, settings: Settings, mlflow_server: MlflowServer
    ) -> None:
        """MLflow says why its test delivery did not arrive."""
        registry = MlflowRegistry(mlflow_server.uri, timeout=30)
        url, secret = "http://127.0.0.1:9/v1/hooks/mlflow", "0123456789abcdef"
        registry.ensure_webhook(url, secret)
        seen = registry.webhook(url, secret)
        assert seen is not None
        assert "refused" in registry.try_webhook(seen.webhook_id)


@pytest.mark.real
def test_the_command_ends_with_one_where_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Findings as JSON with code, severity, what, meaning and fix; and as text."""
    monkeypatch.setenv("CONCH_MLFLOW__URI", "http://127.0.0.1:9")
    conch = CommandLine(home=tmp_path)
    said = conch.run("doctor", "--output", "json")
    assert said.code == Exit.FAILED
    value = json.loads(said.out)
    assert not value["ok"]
    [found] = [one for one in value["findings"] if one["code"] == "mlflow-unreachable"]
    assert set(found) == {"code", "severity", "what", "meaning", "fix"}
    assert value["facts"]["mlflow"]["url"] == "http://127.0.0.1:9"
    assert "mlflow-unreachable" in conch.run("doctor").out
