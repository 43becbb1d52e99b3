"""Databases for tests: the same suite runs on every engine that conch supports."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from conch.control.state import Database

_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Postgres:
    """A private PostgreSQL server on a Unix socket, in a folder of its own.

    PostgreSQL refuses to run as root; a root test run gives the server to the user `postgres`,
    whom the package makes.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._data = folder / "data"

    def start(self) -> None:
        """Make the cluster and start it."""
        self._folder.mkdir(mode=0o755)
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "--auth=trust", "--username=conch", f"--pgdata={self._data}")
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "--wait", f"--pgdata={self._data}", f"--options={options}", "start")

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._run("pg_ctl", "--wait", "--mode=immediate", f"--pgdata={self._data}", "stop")
        shutil.rmtree(self._folder)

    def create(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{uuid.uuid4().hex}"
        admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://conch@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        log = self._folder / f"{program}.log"
        with log.open("w") as output:
            subprocess.run(
                [str(self._programs / program), *arguments],
                check=True,
                user=user,
                cwd="/",
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
            )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL server; tests that need it skip where none is installed."""
    if not _DEBIAN:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # A socket's path holds at most 107 characters, so not in pytest's own folder.
    server = Postgres(Path("/tmp") / f"conch-postgres-{os.getpid()}", _DEBIAN[0])
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'conch.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated control database, once for each engine."""
    database = Database(database_url)
    database.migrate()
    yield database
    database.close()
