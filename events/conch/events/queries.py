"""SQL over all events: the compacted files, and the tail of the log that is not compacted yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from .errors import QueryError
from .kinds import Kind
from .manifests import Manifest, load_manifest
from .tables import columns, extra, schema, to_table
from .views import StoredEvent

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS: Final = 10_000
_VIEWS: Final = {
    Kind.EXPOSURE: "exposures",
    Kind.PREDICTION: "predictions",
    Kind.METRIC: "metrics",
    Kind.FEEDBACK: "feedback",
}


class EventSource(Protocol):
    """What is read of a log: `EventLog` in its own process, `LogReader` in another."""

    @property
    def first_offset(self) -> int:
        """The oldest offset that can be read."""
        ...

    @property
    def next_offset(self) -> int:
        """The offset after the newest event."""
        ...

    def read(self, from_offset: int, *, limit: int = 1000) -> tuple[StoredEvent, ...]:
        """Return up to `limit` events from an offset on."""
        ...


class EventQueries:
    """Answers SQL with the tables `events`, `exposures`, `predictions`, `metrics`, `feedback`.

    Each query sees every event that was durable when it began, once. It may read nothing but the
    compacted files: no other file, no network, no writing.
    """

    def __init__(
        self, source: EventSource, directory: Path, *, threads: int = 2, memory_mb: int = 1024
    ) -> None:
        """Prepare queries.

        Args:
            source: The log.
            directory: Where its compaction writes.
            threads: The most threads of one query.
            memory_mb: The most memory of one query, MiB.
        """
        self._source = source
        self._directory = directory.resolve()
        self._threads = threads
        self._memory_mb = memory_mb

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Return the answer to one SELECT.

        Args:
            sql: The statement; `?` stands for a parameter.
            parameters: Values for the `?`.

        Raises:
            QueryError: It is not one SELECT, or it fails.
            ManifestError: The compacted files are damaged.
            MissingExtraError: pyarrow or duckdb is not installed.
        """
        duckdb = extra("duckdb")
        # The end first, then the manifest: what is compacted in between is in the manifest.
        end_offset = self._source.next_offset
        manifest = load_manifest(self._directory)
        tail = self._tail(manifest.next_offset, end_offset)
        with duckdb.connect(":memory:", config=self._configuration()) as connection:
            connection.register("log_tail", tail)
            self._create_views(connection, manifest, end_offset)
            directory = _literal(str(self._directory))
            connection.execute(f"SET allowed_directories = [{directory}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            try:
                statements = connection.extract_statements(sql)
                if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                    raise QueryError("Events are read with exactly one SELECT.")
                return connection.sql(statements[0], params=parameters).to_arrow_table()
            except duckdb.Error as error:
                raise QueryError(f"The query failed: {error}.") from error

    def _tail(self, first: int, end: int) -> pa.Table:
        pa = extra("pyarrow")
        batches = []
        at = max(first, self._source.first_offset)
        while at < end:
            events = self._source.read(at, limit=min(_ROWS, end - at))
            batches.append(to_table(events))
            at = events[-1].offset + 1
        return pa.concat_tables(batches) if batches else schema().empty_table()

    def _create_views(self, connection: Any, manifest: Manifest, end_offset: int) -> None:
        names = ", ".join(f'"{name}"' for name in columns())
        everything = f"SELECT {names} FROM log_tail"
        if manifest.parts:
            files = ", ".join(_literal(str(self._directory / p.file)) for p in manifest.parts)
            everything += (
                f" UNION ALL SELECT {names} FROM read_parquet([{files}], union_by_name = true)"
                f' WHERE "offset" < {end_offset}'
            )
        connection.execute(f"CREATE VIEW events AS {everything}")
        for kind, view in _VIEWS.items():
            own = ", ".join(f'"{name}"' for name in columns(kind))
            connection.execute(
                f"CREATE VIEW {view} AS SELECT {own} FROM events WHERE kind = '{kind.value}'"
            )

    def _configuration(self) -> dict[str, str]:
        return {"threads": str(self._threads), "memory_limit": f"{self._memory_mb}MiB"}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
