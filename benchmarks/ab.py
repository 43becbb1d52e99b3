"""Speed of the statistics: a decision over 20 metrics, assignments per second, events summarised.

    python benchmarks/ab.py --quick --json

Summarising counts, per arm, units, units with an error and slow units of exposures in Parquet files
of the event log's own schema, beside a scan of the same columns of the same files that only counts
rows: the ratio is what the statistics cost over reading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from conch.ab import (
    Counts,
    Direction,
    Evidence,
    Experiment,
    Grid,
    Histogram,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    Moments,
    PairMoments,
    ReleasePlan,
    StageEvidence,
    Step,
    canonical_json,
    decide,
)


def decision_ms(metrics: int, stages: int, repeats: int) -> dict[str, float]:
    """Time `decide` over a ramp, from sufficient statistics, in milliseconds."""
    rng = np.random.default_rng(1)
    measures = list(Measure)
    template = Metric(
        name="m",
        kind=Kind.GUARDRAIL,
        measure=Measure.EVENT_RATE,
        direction=Direction.LOWER,
        unit="share",
        counted_per="request",
        source="benchmark",
        margin=0.1,
    )
    chosen = tuple(
        replace(
            template,
            name=f"m{index}",
            measure=measures[index % len(measures)],
            level=0.95 if measures[index % len(measures)] is Measure.QUANTILE else None,
            kind=Kind.GUARDRAIL if index < 5 else Kind.DIAGNOSTIC,
        )
        for index in range(metrics)
    )
    weights = np.linspace(100, 5_000, stages).astype(int)
    plan = ReleasePlan(
        steps=tuple(Step(weight=int(weight)) for weight in weights),
        metrics=chosen,
        assignment_unit="request",
    )
    evidence = Evidence(
        stages=tuple(
            _stage(rng, step, int(weight) / 10_000, chosen) for step, weight in enumerate(weights)
        ),
        cut_s=0.0,
    )
    times = []
    first = canonical_json(decide(plan, evidence, 0.0))
    for _ in range(repeats):
        started = time.perf_counter()
        decision = decide(plan, evidence, 0.0)
        times.append((time.perf_counter() - started) * 1e3)
    assert canonical_json(decision) == first
    return {"median_ms": statistics.median(times), "max_ms": max(times)}


def assignments_per_s(units: int) -> dict[str, float]:
    """Time assignment in bulk and one at a time, in assignments per second."""
    names = [f"user-{number}" for number in range(units)]
    experiment = Experiment.weighted("benchmark", 2, coverage=0.5)
    started = time.perf_counter()
    experiment.variations_of(names)
    bulk = units / (time.perf_counter() - started)
    few = names[: units // 10]
    started = time.perf_counter()
    for name in few:
        experiment.variation_of(name)
    return {"bulk": bulk, "single": len(few) / (time.perf_counter() - started)}


def summarised(rows: int) -> dict[str, float]:
    """Time a scan of exposures and their summary by unit and arm, in seconds, best of three."""
    import duckdb
    import pyarrow as pa
    from pyarrow import parquet

    from conch.events.tables import schema

    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as name:
        for part in range(10):
            size = rows // 10
            units = rng.integers(0, rows // 20, size)
            columns: dict[str, Any] = {
                "offset": np.arange(size) + part * size,
                "kind": pa.array(["exposure"] * size),
                "occurred_at": 1e9 + np.arange(size) / 100.0,
                "ordinal": 1 + units % 2,
                "unit_hash": pa.array([f"{unit:016x}" for unit in units]),
                "latency_ms": rng.lognormal(2.0, 1.0, size),
                "status": np.where(rng.random(size) < 0.01, 500, 200),
            }
            table = pa.table(
                {
                    field.name: columns.get(field.name, pa.nulls(size, field.type))
                    for field in schema()
                }
            )
            parquet.write_table(table, Path(name) / f"{part}.parquet", compression="zstd")
        files = f"read_parquet('{name}/*.parquet')"
        scan = (
            "SELECT count(*), max(ordinal), max(status), max(latency_ms), max(unit_hash) "
            f"FROM {files} WHERE kind = 'exposure'"
        )
        summary = (
            "SELECT ordinal, count(*), count(*) FILTER (errors), count(*) FILTER (slow) FROM "
            "(SELECT ordinal, hash(unit_hash) AS unit, max(status) >= 500 AS errors, "
            f"max(latency_ms) > 100 AS slow FROM {files} WHERE kind = 'exposure' "
            "GROUP BY ordinal, unit) "
            "GROUP BY ordinal"
        )
        times: dict[str, float] = {}
        with duckdb.connect(":memory:", config={"threads": "2"}) as connection:
            for key, sql in (("scan_s", scan), ("summary_s", summary)):
                took = []
                for _ in range(3):
                    started = time.perf_counter()
                    connection.execute(sql).fetchall()
                    took.append(time.perf_counter() - started)
                times[key] = min(took)
    return {"rows": rows, **times, "summary_over_scan": times["summary_s"] / times["scan_s"]}


def main() -> None:
    """Run all of them and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "benchmark": "ab",
        "quick": options.quick,
        "decision_20_metrics_1_stage": decision_ms(20, 1, 20 if options.quick else 200),
        "decision_20_metrics_5_stages": decision_ms(20, 5, 20 if options.quick else 200),
        "assignments_per_s": assignments_per_s(100_000 if options.quick else 1_000_000),
        "summarised": summarised(1_000_000 if options.quick else 10_000_000),
    }
    for key, value in report.items():
        print(key, value)
    if options.json:
        print(json.dumps(report))


def _stage(
    rng: np.random.Generator, step: int, share: float, metrics: tuple[Metric, ...]
) -> StageEvidence:
    total = 100_000
    candidate = round(total * share)

    def arm(metric: Metric, units: int) -> Counts | Moments | PairMoments | Histogram:
        if metric.measure is Measure.EVENT_RATE:
            return Counts(units=units, events=int(rng.binomial(units, 0.02)))
        values = rng.gamma(2.0, 10.0, units)
        if metric.measure is Measure.MEAN:
            return Moments.of(values)
        if metric.measure is Measure.QUANTILE:
            return Histogram.of(values, Grid.LOGARITHMIC)
        if metric.measure is Measure.SCORE:
            return Histogram.of(rng.integers(0, 11, units) / 10, Grid.UNIT)
        return PairMoments.of(values + rng.normal(0, 1, units), values)

    return StageEvidence(
        step=step,
        share=share,
        started_s=float(step),
        control_units=total - candidate,
        candidate_units=candidate,
        metrics=tuple(
            MetricEvidence(
                metric=metric.name,
                control=arm(metric, total - candidate),
                candidate=arm(metric, candidate),
            )
            for metric in metrics
        ),
    )


if __name__ == "__main__":
    main()
