"""Records survive the database unchanged, and no update is lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from conch.control.state import Database, Model, Version, VersionStatus, new_id, tables
from conch.core import ConflictError, ModelName, NotFoundError, Ordinal, TritonName

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def model(name: str = "digits") -> Model:
    return Model(
        id=new_id(),
        name=ModelName(name),
        triton_name=TritonName(name),
        next_ordinal=Ordinal(1),
        tags={"team": "vision"},
        created_at=NOW,
    )


def version(of: Model, number: int = 1) -> Version:
    return Version(
        id=new_id(),
        model_id=of.id,
        name=of.name,
        version=number,
        model_size=5 * 2**32,
        accuracy_metrics={"accuracy": 0.97},
        created_at=NOW.astimezone(timezone(timedelta(hours=5))),
        identity="run-1",
        aliases=("champion", "latest-good"),
    )


def test_a_record_comes_back_as_it_was_written(database: Database) -> None:
    """JSON, tuples, choices, large numbers and aware times all survive."""
    first = model()
    with database.begin() as tx:
        tx.models.add(first)
        written = tx.versions.add(version(first))
    with database.begin() as tx:
        read = tx.versions.get(written.id)
    assert read == written
    assert read.created_at.utcoffset() == timedelta(0)
    assert read.status is VersionStatus.REGISTERED


def test_a_change_to_a_row_that_moved_on_is_refused(database: Database) -> None:
    """Optimistic concurrency: the second of two writers who read the same row is told."""
    with database.begin() as tx:
        first = tx.models.add(model())
    with database.begin() as tx:
        tx.models.change(first, next_ordinal=Ordinal(2))
    with pytest.raises(ConflictError), database.begin() as tx:
        tx.models.change(first, next_ordinal=Ordinal(7))
    with database.begin() as tx:
        assert tx.models.get(first.id).next_ordinal == 2


def test_nothing_of_a_failed_transaction_stays(database: Database) -> None:
    """An exception in the block takes every write of the block back."""
    with pytest.raises(RuntimeError), database.begin() as tx:
        tx.models.add(model())
        raise RuntimeError
    with database.begin() as tx:
        assert tx.models.count() == 0


def test_a_look_waits_for_nobody(database: Database) -> None:
    """Reading goes on while somebody writes, and sees what was committed before."""
    with database.begin() as writer:
        writer.models.add(model())
        with database.look() as reader:
            assert reader.models.count() == 0
    with database.look() as reader:
        assert reader.models.count() == 1


def test_a_look_cannot_write(database: Database) -> None:
    """A query that changes something by mistake is refused; later transactions write as ever."""
    with pytest.raises(Exception, match=r"(?i)read-?only|readonly"), database.look() as tx:
        tx.models.add(model())
    with database.begin() as tx:
        tx.models.add(model())


def test_a_name_is_taken_once(database: Database) -> None:
    """A second row of the same unique name is a conflict, not a database error."""
    with database.begin() as tx:
        tx.models.add(model())
    with pytest.raises(ConflictError), database.begin() as tx:
        tx.models.add(model())


def test_what_is_not_there_is_said(database: Database) -> None:
    """Reading an unknown id names the kind and the id."""
    with pytest.raises(NotFoundError, match="model 'nope'"), database.begin() as tx:
        tx.models.get("nope")


def test_no_count_is_lost_between_writers(database: Database) -> None:
    """Eight threads that read, add one and write end at the sum."""
    with database.begin() as tx:
        key = tx.models.add(model()).id

    def add_ten() -> None:
        for _ in range(10):
            with database.begin() as tx:
                row = tx.models.get(key)
                tx.models.change(row, next_ordinal=Ordinal(row.next_ordinal + 1))

    threads = [threading.Thread(target=add_ten) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.begin() as tx:
        assert tx.models.get(key).next_ordinal == 81


def test_the_migrations_make_the_schema(database: Database) -> None:
    """What Alembic builds is what the tables say; and migrating twice changes nothing."""
    database.migrate()
    with database.begin() as tx:
        context = MigrationContext.configure(tx.connection)
        assert compare_metadata(context, tables.metadata) == []


def test_the_newest_of_each_group_is_found_in_the_database(database: Database) -> None:
    """Of each set of equal columns the latest row comes back, of two of one moment the last id."""
    first, second = model(), model("letters")
    rows = [
        replace(version(of, number), created_at=NOW + timedelta(seconds=at))
        for of, number, at in ((first, 1, 5), (first, 2, 9), (first, 3, 0), (second, 1, 1))
    ]
    with database.begin() as tx:
        for one in (first, second):
            tx.models.add(one)
        for row in rows:
            tx.versions.add(row)
    with database.look() as tx:
        found = {(one.name, one.version) for one in tx.versions.newest("model_id")}
        assert found == {("digits", 2), ("letters", 1)}
        wanted = tx.versions.newest("model_id", model_id=[first.id], version=[1, 3])
        assert [one.version for one in wanted] == [1]
        assert tx.versions.newest("model_id", model_id=[]) == []
