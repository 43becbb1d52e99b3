"""The control database: an engine, its schema, and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from conch.core import ConchError, ConflictError

from .transactions import Transaction

_MIGRATIONS = Path(__file__).with_name("migrations")
_BUSY_TIMEOUT_S = 10
_LOOKS = "conch_looks"  # marks a connection whose transaction takes no turn
_TURN = 0x636F6E6368  # "conch": the key of the advisory lock


class DatabaseUnavailableError(ConchError):
    """The control database cannot be reached or is locked."""

    code = "database-unavailable"
    retryable = True


class Database:
    """The control database by URL: SQLite on one machine, PostgreSQL beyond.

    Args:
        url: An SQLAlchemy URL, such as `sqlite:////home/me/.conch/conch.db`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)

    def migrate(self) -> None:
        """Bring the schema to the newest version; does nothing where it is there already.

        Raises:
            DatabaseUnavailableError: The database does not answer.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self._guarded(), self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Open a transaction that commits at the end of the block, or not at all.

        Raises:
            ConflictError: A unique name was taken by somebody else, or a row changed meanwhile.
            DatabaseUnavailableError: The database does not answer.
        """
        with self._guarded(), self._engine.begin() as connection:
            yield Transaction(connection)

    @contextmanager
    def look(self) -> Iterator[Transaction]:
        """Open a transaction that only reads: one moment of the database, without a turn to wait.

        Raises:
            DatabaseUnavailableError: The database does not answer, or the block tried to write.
        """
        options: dict[str, Any] = {_LOOKS: True}
        if make_url(self.url).get_backend_name() != "sqlite":
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._guarded(), self._engine.connect() as plain:
            connection = plain.execution_options(**options)
            with connection.begin():
                yield Transaction(connection)

    def revision(self) -> tuple[str | None, bool]:
        """Return the version of the schema that is there, and whether this conch knows it.

        Raises:
            DatabaseUnavailableError: The database does not answer.
        """
        with self._guarded(), self._engine.begin() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}
        return found, found is None or found in known

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise ConflictError(
                f"The control database refused a row: {error.orig}.",
                hint="Somebody else wrote the same name; read again and repeat.",
            ) from error
        except OperationalError as error:
            raise DatabaseUnavailableError(
                f"The control database {make_url(self.url).render_as_string()} does not answer: "
                f"{error.orig}.",
                hint="Check that it runs and that its disk has room, then try again.",
            ) from error


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return _postgres(url)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, see below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_LOOKS):
            connection.exec_driver_sql("PRAGMA query_only=ON")
            connection.exec_driver_sql("BEGIN")
            return
        # IMMEDIATE takes the write lock at once: a transaction that reads and then writes can
        # never fail half-way because another writer came between.
        connection.exec_driver_sql("PRAGMA query_only=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # One transaction at a time, as on SQLite: decisions are taken on what is read, and a
        # control plane writes little. The lock goes with the transaction, however it ends.
        if not connection.get_execution_options().get(_LOOKS):
            connection.execute(select(func.pg_advisory_xact_lock(_TURN)))

    return engine
