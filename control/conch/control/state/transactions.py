"""Reading and writing records within one database transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import JSON, Connection, Select, Table, and_, func, select

from conch.core import ConflictError, NotFoundError

from . import tables
from .records import (
    Build,
    Deployment,
    Experiment,
    Finding,
    Job,
    Lease,
    Model,
    ReceivedDelivery,
    RecordedDecision,
    Release,
    Serving,
    Stage,
    Version,
)


class _Record(Protocol):
    """What every record has."""

    @property
    def id(self) -> str: ...
    @property
    def revision(self) -> int: ...


R = TypeVar("R", bound=_Record)


def new_id() -> str:
    """Return a fresh identity: a random UUID (RFC 9562, version 4)."""
    return str(uuid.uuid4())


class Rows(Generic[R]):
    """One table's rows as records.

    Args:
        connection: The transaction's connection.
        table: The table; its columns are the record's fields.
        record: The record's class.
    """

    def __init__(self, connection: Connection, table: Table, record: type[R]) -> None:
        self._connection = connection
        self._table = table
        self._record = record
        self._noun = record.__name__.lower()
        self._json = {column.name for column in table.columns if isinstance(column.type, JSON)}

    def get(self, key: str) -> R:
        """Return the record with an id.

        Raises:
            NotFoundError: There is none.
        """
        found = self.first(id=key)
        if found is None:
            raise NotFoundError(f"There is no {self._noun} {key!r}.")
        return found

    def first(self, **where: Any) -> R | None:
        """Return the oldest record whose columns equal the given values, or None."""
        found = self.find(limit=1, **where)
        return found[0] if found else None

    def find(
        self, *, newest_first: bool = False, limit: int | None = None, **where: Any
    ) -> list[R]:
        """Return the records whose columns equal the given values (a list means any of them)."""
        if _nothing(where):
            return []
        table = self._table
        moment = table.c["created_at"]
        query = select(table).order_by(moment.desc() if newest_first else moment, table.c["id"])
        query = self._filtered(query, where)
        if limit is not None:
            query = query.limit(limit)
        return self._records(query)

    def newest(self, *columns: str, **where: Any) -> list[R]:
        """Return, of the rows that `find` would, the newest of each set that agrees in columns."""
        if _nothing(where):
            return []
        table = self._table
        order = (table.c["created_at"].desc(), table.c["id"].desc())
        place = func.row_number().over(
            partition_by=[table.c[column] for column in columns], order_by=order
        )
        ranked = self._filtered(select(table.c["id"], place.label("place")), where).subquery()
        first = select(ranked.c["id"]).where(ranked.c["place"] == 1)
        return self._records(select(table).where(table.c["id"].in_(first)))

    def count(self) -> int:
        """Return how many rows there are."""
        query = select(func.count()).select_from(self._table)
        return int(self._connection.execute(query).scalar_one())

    def add(self, record: R) -> R:
        """Insert a record and return it."""
        self._connection.execute(self._table.insert().values(self._row(record)))
        return record

    def change(self, record: R, **changes: Any) -> R:
        """Write changes to a record as it was read, and return the new one.

        Raises:
            ConflictError: The row changed since it was read, or is gone.
        """
        new: R = replace(record, **changes, revision=record.revision + 1)  # type: ignore[type-var]
        row = self._row(new)
        done = self._connection.execute(
            self._table.update()
            .where(
                and_(
                    self._table.c["id"] == record.id,
                    self._table.c["revision"] == record.revision,
                )
            )
            .values({name: row[name] for name in (*changes, "revision")})
        )
        if done.rowcount != 1:
            raise ConflictError(
                f"The {self._noun} {record.id!r} changed since it was read.",
                hint="Read it again and repeat the change.",
            )
        return new

    def remove(self, record: R) -> None:
        """Delete a record's row; nothing happens where it is gone."""
        self._connection.execute(self._table.delete().where(self._table.c["id"] == record.id))

    def remove_older(self, than: datetime) -> int:
        """Delete the rows that were created before a moment, and return how many there were."""
        old = self._table.c["created_at"] < than
        return int(self._connection.execute(self._table.delete().where(old)).rowcount)

    def _filtered(self, query: Select[Any], where: Mapping[str, Any]) -> Select[Any]:
        for column, value in where.items():
            if isinstance(value, list | tuple | set | frozenset):
                query = query.where(self._table.c[column].in_(list(value)))
            else:
                query = query.where(self._table.c[column] == value)
        return query

    def _records(self, query: Select[Any]) -> list[R]:
        return [self._record(**row._mapping) for row in self._connection.execute(query)]

    def _row(self, record: R) -> dict[str, Any]:
        names: Sequence[str] = [field.name for field in fields(record)]  # type: ignore[arg-type]
        row = {name: getattr(record, name) for name in names}
        for name in self._json:
            row[name] = None if row[name] is None else dict(row[name])
        return row


def _nothing(where: Mapping[str, Any]) -> bool:
    """Whether no row can be meant: a column is to be any of no values."""
    return any(value == [] for value in where.values())


class Transaction:
    """The tables of one open transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.models = Rows(connection, tables.models, Model)
        self.versions = Rows(connection, tables.versions, Version)
        self.builds = Rows(connection, tables.builds, Build)
        self.deployments = Rows(connection, tables.deployments, Deployment)
        self.servings = Rows(connection, tables.servings, Serving)
        self.releases = Rows(connection, tables.releases, Release)
        self.stages = Rows(connection, tables.stages, Stage)
        self.decisions = Rows(connection, tables.decisions, RecordedDecision)
        self.experiments = Rows(connection, tables.experiments, Experiment)
        self.findings = Rows(connection, tables.findings, Finding)
        self.jobs = Rows(connection, tables.jobs, Job)
        self.leases = Rows(connection, tables.leases, Lease)
        self.deliveries = Rows(connection, tables.deliveries, ReceivedDelivery)


def as_dict(record: Any) -> dict[str, Any]:
    """Return a record as plain values, for logs and `--output json`."""
    return asdict(record)
