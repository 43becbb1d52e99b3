"""How often the release decision is wrong, and how soon it is right: seeded simulations.

    python benchmarks/ab_operating_characteristics.py --quick --json

Every scenario draws events, hands their sufficient statistics to `decide` at every look, and notes
what it said. Beside it, on the same draws, two common rules: a *threshold gate* (roll back when
the candidate's rate exceeds 1.25 times the control's, from 10 events on) and a *repeated z-test*
(roll back at a one-sided p below 5% at any look). The last line is one JSON object with `--json`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from conch.ab import (
    Action,
    Counts,
    Direction,
    Evidence,
    Kind,
    Measure,
    Metric,
    MetricEvidence,
    PairMoments,
    ReleasePlan,
    StageEvidence,
    Step,
    decide,
    log_e_sample_ratio,
)

ALPHA = 0.05
FINAL = (Action.ROLL_BACK, Action.PROMOTE)
Rates = dict[str, tuple[float, float]]
"""Rate in the control and ratio of the candidate's to it, by metric."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one simulated release ended.

    Attributes:
        action: The first final action, or None.
        candidate_units: Candidate units by then.
        gate: Whether the threshold gate rolled back at any look up to the end of the data.
        z_test: Whether the repeated z-test did.
    """

    action: Action | None
    candidate_units: int
    gate: bool
    z_test: bool


def guardrail(name: str, margin: float, unit: str = "request") -> Metric:
    """Return a guardrail that is an event rate."""
    return Metric(
        name=name,
        kind=Kind.GUARDRAIL,
        measure=Measure.EVENT_RATE,
        direction=Direction.LOWER,
        unit="share",
        counted_per=unit,
        source="simulation",
        margin=margin,
    )


def plan_of(share: float, metrics: Sequence[Metric], unit: str = "request") -> ReleasePlan:
    """Return a plan of one step without minimum times."""
    return ReleasePlan(
        steps=(Step(weight=round(share * 10_000)),),
        metrics=tuple(metrics),
        assignment_unit=unit,
        alpha=ALPHA,
    )


def release(
    rng: np.random.Generator,
    plan: ReleasePlan,
    rates: Rates,
    *,
    look: int,
    looks: int,
    stop: tuple[Action, ...] = FINAL,
) -> Outcome:
    """Simulate one release; `look` is the expected number of candidate units between looks."""
    share = plan.steps[0].weight / 10_000
    names = list(rates)
    base = np.array([rates[name][0] for name in names])
    ratio = np.array([rates[name][1] for name in names])
    candidate = rng.binomial(round(look / share), share, looks)
    control = round(look / share) - candidate
    hits = rng.binomial(candidate[:, None], base * ratio).cumsum(axis=0)
    misses = rng.binomial(control[:, None], base).cumsum(axis=0)
    units, others = candidate.cumsum(), control.cumsum()
    gate, z_test = _common_rules(units, others, hits[:, 0], misses[:, 0])
    for n, m, x, y in zip(units, others, hits, misses, strict=True):
        metrics = tuple(
            MetricEvidence(
                metric=name,
                control=Counts(units=int(m), events=int(y[i])),
                candidate=Counts(units=int(n), events=int(x[i])),
            )
            for i, name in enumerate(names)
        )
        decision = decide(plan, _evidence(share, int(n), int(m), metrics), 0.0)
        if decision.action in stop:
            return Outcome(decision.action, int(n), gate, z_test)
    return Outcome(None, int(units[-1]), gate, z_test)


def false_rollbacks(runs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """A/A: identical versions at several shares and error rates, 40 looks, ignoring promotions."""
    for share in (0.01, 0.05, 0.10, 0.50):
        for rate in (0.005, 0.02, 0.10):
            plan = plan_of(share, [guardrail("errors", 0.25)])
            outcomes = [
                release(
                    rng, plan, {"errors": (rate, 1.0)}, look=100, looks=40,
                    stop=(Action.ROLL_BACK,),
                )
                for _ in range(runs)
            ]  # fmt: skip
            yield {
                "scenario": f"A/A share {share:g} error rate {rate:g}",
                "runs": runs,
                "false_rollback": _share(o.action is Action.ROLL_BACK for o in outcomes),
                "threshold_gate": _share(o.gate for o in outcomes),
                "repeated_z_test": _share(o.z_test for o in outcomes),
            }


def correlated_units(runs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """A/A with 20 requests per sticky user whose errors go together (Beta concentration 10)."""
    share, batch, looks, requests = 0.5, 100, 20, 20
    per_request = plan_of(share, [guardrail("errors", 0.25)])
    any_error = plan_of(share, [guardrail("errors", 0.25, "user")], "user")
    ratio = plan_of(
        share, [replace(guardrail("errors", 0.25, "user"), measure=Measure.RATIO)], "user"
    )
    kinds: dict[str, tuple[ReleasePlan, Callable[[Any], Any]]] = {
        "requests_counted_as_independent": (
            per_request,
            lambda e: Counts(units=requests * e.size, events=int(e.sum())),
        ),
        "users_with_any_error": (
            any_error,
            lambda e: Counts(units=e.size, events=int((e > 0).sum())),
        ),
        "errors_per_request_over_users": (
            ratio,
            lambda e: PairMoments.of(e, np.full(e.size, float(requests))),
        ),
    }
    rolled: Counter[str] = Counter()
    for _ in range(runs):
        errors = rng.binomial(requests, rng.beta(0.1, 9.9, batch * looks))
        arm = rng.random(batch * looks) < share
        for name, (plan, summary) in kinds.items():
            for look in range(1, looks + 1):
                seen, to = errors[: look * batch], arm[: look * batch]
                item = MetricEvidence(
                    metric="errors", control=summary(seen[~to]), candidate=summary(seen[to])
                )
                evidence = _evidence(share, int(to.sum()), int((~to).sum()), (item,))
                if decide(plan, evidence, 0.0).action is Action.ROLL_BACK:
                    rolled[name] += 1
                    break
    yield {
        "scenario": "A/A, 20 correlated requests per user, share 0.5",
        "runs": runs,
        **{name: rolled[name] / runs for name in kinds},
    }


def drifting_ramp(runs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """A/A over a ramp 1-5-10-25-50% while the error rate rises from 5% to 8%."""
    shares = (0.01, 0.05, 0.10, 0.25, 0.50)
    plan = replace(
        plan_of(0.5, [guardrail("errors", 0.25)]),
        steps=tuple(Step(weight=round(share * 10_000)) for share in shares),
    )
    rolled = pooled = 0
    for _ in range(runs):
        stages: list[StageEvidence] = []
        total = np.zeros(4)
        found = False
        for step, share in enumerate(shares):
            n = m = x = y = 0
            for look in range(10):
                rate = 0.05 + 0.03 * (10 * step + look) / 49
                to = int(rng.binomial(400, share))
                n, m = n + to, m + 400 - to
                x += int(rng.binomial(to, rate))
                y += int(rng.binomial(400 - to, rate))
                item = MetricEvidence(
                    metric="errors",
                    control=Counts(units=m, events=y),
                    candidate=Counts(units=n, events=x),
                )
                stage = StageEvidence(
                    step=step, share=share, started_s=float(step), control_units=m,
                    candidate_units=n, metrics=(item,),
                )  # fmt: skip
                evidence = Evidence(stages=(*stages, stage), cut_s=0.0)
                found = found or decide(plan, evidence, 0.0).action is Action.ROLL_BACK
            stages.append(stage)
            total += (n, m, x, y)
        rolled += found
        pooled += bool(_z(*total) > 1.6449)
    yield {
        "scenario": "A/A ramp 1-5-10-25-50% with a baseline rising by 3 points",
        "runs": runs,
        "false_rollback": rolled / runs,
        "one_pooled_z_test_at_the_end": pooled / runs,
    }


def whole_rule(runs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Three guardrails at a 5% share, a look every 250 candidate units, at most 40,000."""
    metrics = [guardrail("errors", 0.25), guardrail("slow", 0.2), guardrail("failures", 0.1)]
    plan = plan_of(0.05, metrics)
    scenarios = {
        "identical": (1.0, 1.0),
        "errors x1.25, exactly the margin": (1.25, 1.0),
        "errors x1.5": (1.5, 1.0),
        "errors x2": (2.0, 1.0),
        "errors x3": (3.0, 1.0),
        "slow share x1.3": (1.0, 1.3),
    }
    for name, (errors, slow) in scenarios.items():
        rates: Rates = {
            "errors": (0.01, errors), "slow": (0.05, slow), "failures": (0.10, 1.0),
        }  # fmt: skip
        outcomes = [release(rng, plan, rates, look=250, looks=160) for _ in range(runs)]
        final = [o.candidate_units for o in outcomes if o.action is not None]
        yield {
            "scenario": f"three guardrails, share 0.05, {name}",
            "runs": runs,
            "promoted": _share(o.action is Action.PROMOTE for o in outcomes),
            "rolled_back": _share(o.action is Action.ROLL_BACK for o in outcomes),
            "median_candidate_units": float(np.median(final)) if final else None,
            "threshold_gate_rolled_back": _share(o.gate for o in outcomes),
            "repeated_z_test_rolled_back": _share(o.z_test for o in outcomes),
        }


def sample_ratio(runs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The split planned at 5%: false alarms over 500 looks, and how soon 6% is noticed."""
    limit = -math.log(0.001)
    for real in (0.05, 0.06):
        at: list[int] = []
        chi2 = 0
        for _ in range(runs):
            candidate = rng.binomial(100, real, 500).cumsum()
            total = 100 * np.arange(1, 501)
            statistic = (candidate - 0.05 * total) ** 2 / (0.05 * 0.95 * total)
            chi2 += bool((special.chdtrc(1, statistic) < 0.001).any())
            for n, x in zip(total, candidate, strict=True):
                counts = (int(n - x), int(x))
                if log_e_sample_ratio([(counts, (0.95, 0.05))]) > limit:
                    at.append(int(n))
                    break
        yield {
            "scenario": f"sample ratio, planned 0.05, real {real:g}, 500 looks of 100 units",
            "runs": runs,
            "flagged": len(at) / runs,
            "median_units": float(np.median(at)) if at else None,
            "flagged_by_22000": sum(n <= 22_000 for n in at) / runs,
            "repeated_chi2_at_0.001": chi2 / runs,
        }


def main() -> None:
    """Run every scenario and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 to 200 runs a scenario")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    scale = 1 if options.quick else 5
    parts: tuple[tuple[Callable[..., Iterator[dict[str, Any]]], int], ...] = (
        (false_rollbacks, 200),
        (correlated_units, 100),
        (drifting_ramp, 100),
        (whole_rule, 100),
        (sample_ratio, 200),
    )
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for index, (part, runs) in enumerate(parts):
        for row in part(runs * scale, np.random.default_rng([20_260_101, index])):
            rows.append(row)
            print(row)
    report = {
        "benchmark": "ab-operating-characteristics",
        "alpha": ALPHA,
        "quick": options.quick,
        "wall_s": round(time.perf_counter() - started, 1),
        "rows": rows,
    }
    print(json.dumps(report) if options.json else f"{report['wall_s']} s")


def _evidence(
    share: float, candidate: int, control: int, metrics: tuple[MetricEvidence, ...]
) -> Evidence:
    stage = StageEvidence(
        step=0,
        share=share,
        started_s=0.0,
        control_units=control,
        candidate_units=candidate,
        metrics=metrics,
    )
    return Evidence(stages=(stage,), cut_s=0.0)


def _common_rules(n: Any, m: Any, x: Any, y: Any) -> tuple[bool, bool]:
    gate = ((x / n) > 1.25 * (y / m)) & (x >= 10)
    return bool(gate.any()), bool((_z(n, m, x, y) > 1.6449).any())


def _z(n: Any, m: Any, x: Any, y: Any) -> Any:
    pooled = (x + y) / (n + m)
    se = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
    return (x / n - y / m) / se


def _share(found: Iterator[bool]) -> float:
    listed = list(found)
    return sum(listed) / len(listed)


if __name__ == "__main__":
    main()
