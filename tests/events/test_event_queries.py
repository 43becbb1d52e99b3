"""SQL over the compacted files and the tail of the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from event_makers import exposure

from conch.events import (
    Compactor,
    Event,
    EventLog,
    EventQueries,
    Feedback,
    LogReader,
    Metric,
    Prediction,
    QueryError,
)

EVERY_KIND: list[Event] = [
    exposure(1, latency_ms=2.5, status=200),
    Prediction(
        event_id="p1",
        occurred_at=5.0,
        received_at=6.0,
        model="digits",
        slot="a",
        ordinal=3,
        features={"x": [1.0, 2.0]},
        output={"y": "né"},
        score=0.75,
    ),
    Metric(event_id="m1", occurred_at=5.0, received_at=6.0, name="sales", value=9, unit_hash="u"),
    Feedback(
        event_id="f1",
        prediction_id="p1",
        observed_at=7.0,
        received_at=8.0,
        source="web",
        label="né",
    ),
]


@pytest.mark.parametrize("compacted", [False, True], ids=["tail", "parquet"])
def test_every_kind_in_its_table(tmp_path: Path, compacted: bool) -> None:
    """Each kind's table has its rows and fields, the same from the log and from Parquet."""
    with EventLog(tmp_path / "log") as log:
        log.append(EVERY_KIND)
        if compacted:
            log.seal()
            Compactor(log, tmp_path / "parquet").run()
        queries = EventQueries(log, tmp_path / "parquet")

        def one(sql: str) -> dict[str, Any]:
            rows: list[dict[str, Any]] = queries.query(sql).to_pylist()
            assert len(rows) == 1
            return rows[0]

        assert one("SELECT event_id, latency_ms, status, unit_given FROM exposures") == {
            "event_id": "e1",
            "latency_ms": 2.5,
            "status": 200,
            "unit_given": True,
        }
        prediction = one("SELECT * FROM predictions")
        assert json.loads(prediction["features"]) == {"x": [1.0, 2.0]}
        assert json.loads(prediction["output"]) == {"y": "né"}
        assert (prediction["score"], prediction["offset"]) == (0.75, 1)
        assert one("SELECT name, value FROM metrics") == {"name": "sales", "value": 9.0}
        joined = one(
            "SELECT p.model, f.label FROM predictions p"
            " JOIN feedback f ON f.prediction_id = p.event_id"
        )
        assert joined == {"model": "digits", "label": '"né"'}
        kinds = queries.query('SELECT kind FROM events ORDER BY "offset"').to_pylist()
        assert [row["kind"] for row in kinds] == ["exposure", "prediction", "metric", "feedback"]


def test_each_event_once_at_any_time(tmp_path: Path) -> None:
    """However much is compacted, a query sees every durable event exactly once."""
    with EventLog(tmp_path / "log") as log:
        compactor = Compactor(log, tmp_path / "parquet")
        queries = EventQueries(log, tmp_path / "parquet")
        for number in range(12):
            log.append([exposure(number)])
            if number % 3 == 2:
                log.seal()
            if number % 6 == 5:
                compactor.run()
            rows = queries.query('SELECT "offset", event_id FROM events ORDER BY 1').to_pylist()
            assert [(row["offset"], row["event_id"]) for row in rows] == [
                (n, f"e{n}") for n in range(number + 1)
            ]


def test_query_sees_one_moment(tmp_path: Path) -> None:
    """What is appended and compacted after a reader looked is not half in its answers."""
    with EventLog(tmp_path / "log") as log:
        log.append([exposure(number) for number in range(5)])
        reader = LogReader(tmp_path / "log")
        queries = EventQueries(reader, tmp_path / "parquet")
        log.append([exposure(number) for number in range(5, 10)])
        log.seal()
        Compactor(log, tmp_path / "parquet").run()
        log.append([exposure(10)])

        sql = "SELECT count(*) AS n FROM events"
        assert queries.query(sql).to_pylist() == [{"n": 5}]
        reader.refresh()
        assert queries.query(sql).to_pylist() == [{"n": 11}]


def test_empty_log(tmp_path: Path) -> None:
    """An empty log has empty tables."""
    with EventLog(tmp_path / "log") as log:
        queries = EventQueries(log, tmp_path / "parquet")
        assert queries.query("SELECT count(*) AS n FROM feedback").to_pylist() == [{"n": 0}]


def test_query_beside_the_writer(tmp_path: Path) -> None:
    """A reader without the lock can be queried, with parameters."""
    with EventLog(tmp_path / "log") as log:
        log.append([exposure(number, slot="ab"[number % 2]) for number in range(9)])
        queries = EventQueries(LogReader(tmp_path / "log"), tmp_path / "parquet")
        sql = "SELECT count(*) AS n FROM exposures WHERE slot = ? AND ordinal = ?"
        assert queries.query(sql, ["b", 3]).to_pylist() == [{"n": 4}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nothing FROM events",
        "SELECT 1; SELECT 2",
        "",
        "DROP VIEW events",
        "CREATE TABLE x (a INT)",
        "COPY (SELECT 1) TO '{outside}/stolen.csv'",
        "COPY (SELECT 1) TO '{parquet}/added.csv'",
        "SELECT * FROM read_text('{outside}/secret')",
        "SELECT * FROM '{outside}/secret.csv'",
        "ATTACH '{outside}/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ],
)
def test_only_reading_events(tmp_path: Path, sql: str) -> None:
    """A query reads events and nothing else: no other file, no writing, no settings."""
    parquet = tmp_path / "parquet"
    (tmp_path / "secret").write_text("password")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with EventLog(tmp_path / "log") as log:
        log.append([exposure(1)])
        log.seal()
        Compactor(log, parquet).run()
        before = sorted(tmp_path.rglob("*"))
        queries = EventQueries(log, parquet)
        with pytest.raises(QueryError) as refused:
            queries.query(sql.format(outside=tmp_path, parquet=parquet))
        assert refused.value.code == "event-query-invalid"
        assert sorted(tmp_path.rglob("*")) == before
