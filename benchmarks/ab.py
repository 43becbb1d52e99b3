"""Speed of the statistics: a decision over 20 metrics, and assignments per second on one core.

python benchmarks/ab.py --quick --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

from conch.ab import (
    Counts,
    Direction,
    Evidence,
    Experiment,
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


def main() -> None:
    """Run both and print them."""
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

    def arm(metric: Metric, units: int) -> Counts | Moments | PairMoments:
        if metric.measure is Measure.EVENT_RATE:
            return Counts(units=units, events=int(rng.binomial(units, 0.02)))
        values = rng.gamma(2.0, 10.0, units)
        if metric.measure is Measure.MEAN:
            return Moments.of(values)
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
