"""Decisions made from the compacted event log: what `decide` says at every look.

Units are counted once, in the arm and the stage of their first exposure; a unit that met both arms
within a stage is counted as such and left out of the metrics. A metric's window closes for a unit
`window_s` after its first exposure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np

from conch.ab import (
    Counts,
    Evidence,
    Grid,
    Histogram,
    Measure,
    Metric,
    MetricEvidence,
    Moments,
    PairMoments,
    ReleasePlan,
    StageEvidence,
    record_of,
)

from .stories import NotebookError, Story

_UNITS: Final = "REPLACE (hash(unit_hash) AS unit_hash)"
"""Units as 64 bits in the place of 16 letters: groups of them are found in half of the time. Of a
million units two meet with a chance of 3e-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Which versions are compared, by their directories' numbers."""

    control: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitValue:
    """What a unit's value of a metric is, in SQL.

    Attributes:
        rows: `exposures`, or the name of metric events.
        sql: An aggregate over the unit's rows, such as `max(latency_ms > 250)` or `sum(value)`.
        per: Another aggregate: a ratio's denominator or a mean's covariate; None where there is
            none.
    """

    rows: str
    sql: str
    per: str | None = None


def from_exposures(sql: str, *, per: str | None = None) -> UnitValue:
    """Return a value made of a unit's requests, such as `max(status >= 500)`."""
    return UnitValue(rows="exposures", sql=sql, per=per)


def from_metric_events(name: str, sql: str = "sum(value)") -> UnitValue:
    """Return a value made of a unit's metric events of one name; 0 for units without any."""
    return UnitValue(rows=name, sql=sql)


def replay_events(
    files: Sequence[Path],
    *,
    plan: ReleasePlan,
    release: str,
    arms: Arms,
    values: Mapping[str, UnitValue],
    looks: int = 20,
) -> Story:
    """Decide at evenly spaced moments, as if it had been watched.

    Args:
        files: Parquet files of the event log's compaction, or globs of them.
        plan: How it is decided.
        release: The release or experiment that the exposures name.
        arms: Which versions are compared.
        values: Each metric's value of a unit.
        looks: Number of moments.

    Raises:
        NotebookError: A metric has no value, or there is no exposure of the release.
    """
    if missing := sorted({metric.name for metric in plan.metrics} - set(values)):
        raise NotebookError(f"No value is given for: {', '.join(missing)}.")
    with duckdb.connect(":memory:") as connection:
        names = [str(path) for path in files]
        connection.execute(
            f"CREATE TABLE seen AS SELECT * {_UNITS}, ordinal = ? AS candidate "
            "FROM read_parquet(?, union_by_name = true) "
            "WHERE kind = 'exposure' AND release = ? AND ordinal IN (?, ?)",
            [arms.candidate, names, release, arms.control, arms.candidate],
        )
        connection.execute(
            f"CREATE TABLE reported AS SELECT * {_UNITS} "
            "FROM read_parquet(?, union_by_name = true) WHERE kind = 'metric'",
            [names],
        )
        first, last = _one(connection, "SELECT min(occurred_at), max(occurred_at) FROM seen")
        if first is None:
            raise NotebookError(f"There is no exposure of release {release!r}.")
        cuts = np.linspace(float(first), float(last), looks + 1)[1:]
        records = tuple(
            record_of(plan, _evidence(connection, plan, values, float(cut)), float(cut))
            for cut in cuts
        )
    return Story(name=release, records=records)


def _evidence(
    connection: Any, plan: ReleasePlan, values: Mapping[str, UnitValue], cut_s: float
) -> Evidence:
    connection.execute(
        "CREATE OR REPLACE TABLE units AS SELECT unit_hash, stage, min(occurred_at) AS since, "
        "arg_min(candidate, occurred_at) AS candidate, min(candidate) < max(candidate) AS met_both "
        "FROM seen WHERE occurred_at <= ? GROUP BY unit_hash, stage",
        [cut_s],
    )
    stages = connection.execute(
        "SELECT stage, min(since), count(*) FILTER (NOT candidate), count(*) FILTER (candidate) "
        "FROM units GROUP BY stage ORDER BY stage"
    ).fetchall()
    (both,) = _one(connection, "SELECT count(*) FROM units WHERE met_both")
    return Evidence(
        stages=tuple(
            StageEvidence(
                step=int(stage),
                share=plan.share_of(int(stage)),
                started_s=float(since),
                control_units=control,
                candidate_units=candidate,
                metrics=tuple(
                    _metric(connection, metric, values[metric.name], int(stage), cut_s)
                    for metric in plan.metrics
                ),
            )
            for stage, since, control, candidate in stages
        ),
        cut_s=cut_s,
        exposed_to_both=int(both),
    )


def _metric(
    connection: Any, metric: Metric, value: UnitValue, stage: int, cut_s: float
) -> MetricEvidence:
    own = "seen" if value.rows == "exposures" else "reported"
    named = "" if value.rows == "exposures" else "AND r.name = $name"
    window = "AND r.occurred_at <= u.since + $window" if metric.window_s else ""
    per = "1.0" if value.per is None else value.per
    table = connection.execute(
        f"WITH found AS (SELECT u.unit_hash, ({value.sql})::DOUBLE AS x, ({per})::DOUBLE AS y "
        f"FROM units u JOIN {own} r ON r.unit_hash = u.unit_hash AND r.occurred_at >= u.since "
        f"AND r.occurred_at <= $cut {window} {named} "
        + ("AND r.stage = u.stage " if own == "seen" else "")
        + "WHERE u.stage = $stage GROUP BY u.unit_hash) "
        "SELECT u.candidate, u.since + $window <= $cut AS closed, "
        "coalesce(f.x, 0.0) AS x, coalesce(f.y, 1.0) AS y "
        "FROM units u LEFT JOIN found f USING (unit_hash) "
        "WHERE u.stage = $stage AND NOT u.met_both",
        {
            "cut": cut_s, "stage": stage, "window": metric.window_s,
            **({"name": value.rows} if named else {}),
        },
    ).fetchnumpy()  # fmt: skip
    candidate = np.asarray(table["candidate"], dtype=bool)
    closed = np.asarray(table["closed"], dtype=bool)
    x = np.asarray(table["x"], dtype=np.float64)
    y = np.asarray(table["y"], dtype=np.float64)

    def statistic(arm: Any) -> Counts | Moments | PairMoments | Histogram:
        counted = closed & arm
        if metric.measure is Measure.EVENT_RATE:
            return Counts(units=int(counted.sum()), events=int((x[counted] != 0).sum()))
        if metric.measure is Measure.MEAN:
            return Moments.of(x[counted])
        if metric.measure in (Measure.QUANTILE, Measure.SCORE):
            grid = Grid.UNIT if metric.measure is Measure.SCORE else Grid.LOGARITHMIC
            return Histogram.of(x[counted], grid)
        return PairMoments.of(x[counted], y[counted])

    return MetricEvidence(
        metric=metric.name,
        control=statistic(~candidate),
        candidate=statistic(candidate),
        control_pending=int((~closed & ~candidate).sum()),
        candidate_pending=int((~closed & candidate).sum()),
    )


def _one(connection: Any, sql: str) -> Any:
    return connection.execute(sql).fetchone()
