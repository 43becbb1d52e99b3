"""How often the release decision is wrong, and how soon it is right: seeded simulations.

    python benchmarks/ab_operating_characteristics.py --quick --json

Every scenario draws requests or users, hands their sufficient statistics to `conch.ab.decide` with
a real `ReleasePlan`, and notes what it said. Where guardrails are event rates, `oc_screening` says
at which looks a decision could fall at all, and `decide` is asked there and at a sample of the
others. Beside it, on the same draws, two common rules:

* a *threshold gate*, as Argo Rollouts or Flagger are often set up: roll back when the candidate's
  rate exceeds 1.25 times the control's, from 10 events on; promote after 20 looks;
* a *repeated z-test*: roll back at a one-sided p below 5% at any look; promote after 20 looks.

Each share comes with its binomial standard error (`..._se`). `--plot FILE` draws the result. The
last line is one JSON object with `--json`. Exit status 1 says that the screening missed a decision.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oc_drawing import draw_report
from oc_screening import Stage, log_e_split, may_promote, may_roll_back

from conch.ab import (
    SRM_CONCENTRATION,
    Action,
    Counts,
    Direction,
    Evidence,
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
    decide,
)

ALPHA = 0.05
FINAL = (Action.ROLL_BACK, Action.PROMOTE)
AUDITED = 0.002
"""Share of the looks without a possible decision at which `decide` is asked all the same."""

GATE_LOOKS = 20
Row = dict[str, Any]
Statistic = Counts | Moments | PairMoments | Histogram


@dataclass(slots=True)
class Judge:
    """Asks `decide`, and counts how often."""

    rng: np.random.Generator
    asked: int = 0
    audited: int = 0
    wrong: list[str] = field(default_factory=list)

    def action(self, plan: ReleasePlan, stages: Sequence[StageEvidence]) -> Action:
        """Return what `decide` does with these stages."""
        self.asked += 1
        return decide(plan, Evidence(stages=tuple(stages), cut_s=0.0), 0.0).action

    def first(
        self,
        plan: ReleasePlan,
        evidence: Callable[[int], Sequence[StageEvidence]],
        possible: NDArray[np.bool_],
        stop: tuple[Action, ...],
    ) -> tuple[Action | None, int]:
        """Return the first action among `stop` and its look; None and the last look without one."""
        for look in range(possible.size):
            audit = not possible[look] and self.rng.random() < AUDITED
            if not (possible[look] or audit):
                continue
            action = self.action(plan, evidence(look))
            self.audited += audit
            if action in stop:
                if audit:
                    self.wrong.append(f"{action} at a look where none was possible")
                return action, look
        return None, possible.size - 1


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


def plan_of(
    shares: float | Sequence[float], metrics: Sequence[Metric], unit: str = "request"
) -> ReleasePlan:
    """Return a plan without minimum times, one step for each share."""
    steps = (shares,) if isinstance(shares, float) else tuple(shares)
    return ReleasePlan(
        steps=tuple(Step(weight=round(share * 10_000)) for share in steps),
        metrics=tuple(metrics),
        assignment_unit=unit,
        alpha=ALPHA,
    )


def stage_of(
    plan: ReleasePlan, step: int, n: int, m: int, values: dict[str, tuple[Statistic, Statistic]]
) -> StageEvidence:
    """Return one stage: candidate and control units, and (control, candidate) by metric."""
    return StageEvidence(
        step=step,
        share=plan.share_of(step),
        started_s=float(step),
        control_units=m,
        candidate_units=n,
        metrics=tuple(
            MetricEvidence(metric=name, control=control, candidate=candidate)
            for name, (control, candidate) in values.items()
        ),
    )


def counted(plan: ReleasePlan, stage: Stage, step: int, run: int, look: int) -> StageEvidence:
    """Return one look of one simulated run as evidence."""
    n, m = (int(arm[run, look]) for arm in stage.units)
    values: dict[str, tuple[Statistic, Statistic]] = {
        metric.name: (
            Counts(units=m, events=int(stage.events[1, run, look, index])),
            Counts(units=n, events=int(stage.events[0, run, look, index])),
        )
        for index, metric in enumerate(plan.metrics)
    }
    return stage_of(plan, step, n, m, values)


def draw(
    rng: np.random.Generator,
    share: float,
    base: Any,
    ratio: Any,
    *,
    runs: int,
    look: int,
    looks: int,
) -> Stage:
    """Draw a stage; `look` is the expected number of candidate units between two looks.

    Args:
        base: Control's rate by metric, float64[metrics] or float64[looks, metrics].
        ratio: Candidate's rate over the control's, the same shape.
    """
    candidate = rng.binomial(round(look / share), share, (runs, looks))
    control = round(look / share) - candidate
    base, ratio = np.asarray(base), np.asarray(ratio)
    hits = rng.binomial(candidate[..., None], base * ratio)
    misses = rng.binomial(control[..., None], np.broadcast_to(base, (base * ratio).shape))
    units = np.stack([candidate.cumsum(axis=1), control.cumsum(axis=1)])
    return Stage(share, units, np.stack([hits.cumsum(axis=1), misses.cumsum(axis=1)]))


def false_rollbacks(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """A/A: identical versions at several shares and error rates, 200 looks, promotions ignored."""
    for share in (0.01, 0.05, 0.10, 0.50):
        for rate in (0.005, 0.02, 0.10):
            plan = plan_of(share, [guardrail("errors", 0.25)])
            stage = draw(rng, share, [rate], [1.0], runs=runs, look=50, looks=200)
            possible = may_roll_back(plan, [stage])
            ended = [
                judge.first(
                    plan,
                    lambda look, run=run, stage=stage, plan=plan: [  # type: ignore[misc]
                        counted(plan, stage, 0, run, look)
                    ],
                    possible[run],
                    (Action.ROLL_BACK,),
                )
                for run in range(runs)
            ]
            gate, z_test = _common(stage)
            yield {
                "scenario": f"A/A, share {share:g}, error rate {rate:g}, 200 looks",
                "group": "false-rollback",
                "share": share,
                "rate": rate,
                "runs": runs,
                **_shares(
                    false_rollback=[action is not None for action, _ in ended],
                    threshold_gate=gate.any(axis=1),
                    repeated_z_test=z_test.any(axis=1),
                ),
            }


def heavy_tails(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """A/A: lognormal latency, sigma 1.5, as share above an objective, as p95 and as mean."""
    slow = guardrail("slow", 0.2)
    metrics = {
        "share_over_objective": slow,
        "p95_as_quantile": replace(slow, measure=Measure.QUANTILE, level=0.95),
        "mean": replace(slow, measure=Measure.MEAN),
    }
    objective = math.exp(1.5 * 1.6449)
    looks = 12
    for share in (0.01, 0.05, 0.10, 0.50):
        plans = {name: plan_of(share, [metric]) for name, metric in metrics.items()}
        few = max(20, runs // 8)  # a quantile's e-values take milliseconds
        rolled: dict[str, list[bool]] = {name: [] for name in metrics}
        gate, z_test = [], []
        for run in range(runs):
            n = rng.binomial(round(200 / share), share, looks)
            m = round(200 / share) - n
            values = rng.lognormal(0.0, 1.5, n.sum()), rng.lognormal(0.0, 1.5, m.sum())
            ends = n.cumsum(), m.cumsum()
            gate.append(_mean_gate(values, ends))
            z_test.append(_mean_z(values, ends))
            for name, plan in plans.items():
                if name == "p95_as_quantile" and (run >= few or share not in (0.05, 0.5)):
                    continue
                statistics = _summaries(name, values, ends, objective)
                rolled[name].append(
                    any(
                        judge.action(
                            plan,
                            [stage_of(plan, 0, int(ends[0][i]), int(ends[1][i]), {"slow": pair})],
                        )
                        is Action.ROLL_BACK
                        for i, pair in enumerate(statistics)
                    )
                )
        yield {
            "scenario": f"A/A, lognormal latency (sigma 1.5), share {share:g}, {looks} looks",
            "group": "heavy-tails",
            "share": share,
            "runs": runs,
            "runs_of_quantile": len(rolled["p95_as_quantile"]),
            **_shares(**rolled, threshold_gate=gate, repeated_z_test=z_test),
        }


def correlated_units(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """A/A with 20 requests per sticky user whose errors go together (Beta concentration 10)."""
    share, batch, looks, requests = 0.5, 100, 20, 20
    user = guardrail("errors", 0.25, "user")
    kinds: dict[str, tuple[ReleasePlan, Callable[[Any], Statistic]]] = {
        "requests_counted_as_independent": (
            plan_of(share, [guardrail("errors", 0.25)]),
            lambda e: Counts(units=requests * e.size, events=int(e.sum())),
        ),
        "users_with_any_error": (
            plan_of(share, [user], "user"),
            lambda e: Counts(units=e.size, events=int((e > 0).sum())),
        ),
        "errors_per_request_over_users": (
            plan_of(share, [replace(user, measure=Measure.RATIO)], "user"),
            lambda e: PairMoments.of(e, np.full(e.size, float(requests))),
        ),
    }
    rolled: dict[str, list[bool]] = {name: [] for name in kinds}
    gate, z_test = [], []
    for _ in range(runs):
        errors = rng.binomial(requests, rng.beta(0.1, 9.9, batch * looks))
        arm = rng.random(batch * looks) < share
        seen = [
            (errors[:end][arm[:end]], errors[:end][~arm[:end]])
            for end in range(batch, batch * looks + 1, batch)
        ]
        z_test.append(any(_z(20 * x.size, 20 * y.size, x.sum(), y.sum()) > 1.6449 for x, y in seen))
        gate.append(any(x.mean() > 1.25 * y.mean() and x.sum() >= 10 for x, y in seen))
        for name, (plan, summary) in kinds.items():
            actions = (
                judge.action(
                    plan,
                    [stage_of(plan, 0, x.size, y.size, {"errors": (summary(y), summary(x))})],
                )
                for x, y in seen
            )
            rolled[name].append(Action.ROLL_BACK in actions)
    yield {
        "scenario": f"A/A, 20 correlated requests per user, share 0.5, {looks} looks",
        "group": "correlated",
        "runs": runs,
        **_shares(**rolled, threshold_gate=gate, repeated_z_test=z_test),
    }


def drifting_ramp(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """A/A over a ramp 1-5-10-25-50% while the error rate rises from 5% to 8%."""
    shares = (0.01, 0.05, 0.10, 0.25, 0.50)
    plan = plan_of(shares, [guardrail("errors", 0.25)])
    stages: list[Stage] = []
    rolled = np.zeros(runs, bool)
    totals = np.zeros((4, runs, 1))
    z_test, gate = np.zeros(runs, bool), np.zeros(runs, bool)
    for step, share in enumerate(shares):
        rate = (0.05 + 0.03 * (10 * step + np.arange(10)) / 49)[:, None]
        stage = draw(rng, share, rate, 1.0, runs=runs, look=round(400 * share), looks=10)
        stages.append(stage)
        possible = may_roll_back(plan, stages)
        for run in range(runs):
            if rolled[run]:
                continue

            def evidence(look: int, run: int = run) -> Sequence[StageEvidence]:
                before = [counted(plan, s, i, run, 9) for i, s in enumerate(stages[:-1])]
                return [*before, counted(plan, stages[-1], len(stages) - 1, run, look)]

            action, _ = judge.first(plan, evidence, possible[run], (Action.ROLL_BACK,))
            rolled[run] = action is not None
        now = np.stack([*stage.units, *stage.events[..., 0]]).astype(float)
        pooled = totals + now
        z_test |= (_z(*pooled) > 1.6449).any(axis=1)
        gate |= _gate(*pooled).any(axis=1)
        totals = pooled[:, :, -1:]
    yield {
        "scenario": "A/A ramp 1-5-10-25-50% with a baseline rising from 5% to 8%, 50 looks",
        "group": "ramp",
        "runs": runs,
        **_shares(false_rollback=rolled, threshold_gate=gate, repeated_z_test=z_test),
        **_shares(one_pooled_z_test_at_the_end=_z(*totals)[:, 0] > 1.6449),
    }


def whole_rule(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """Three guardrails, a look every 250 candidate units, at most 40,000; 60,000 at 50%."""
    metrics = [guardrail("errors", 0.25), guardrail("slow", 0.2), guardrail("failures", 0.1)]
    base = [0.01, 0.05, 0.10]
    scenarios = {
        "identical": (0.05, 1.0, 1.0, 160),
        "errors x1.25, exactly the margin": (0.05, 1.25, 1.0, 160),
        "errors x1.5": (0.05, 1.5, 1.0, 100),
        "errors x2": (0.05, 2.0, 1.0, 40),
        "errors x3": (0.05, 3.0, 1.0, 20),
        "slow share x1.3": (0.05, 1.0, 1.3, 80),
        "identical, share 0.1": (0.10, 1.0, 1.0, 160),
        "identical, share 0.5": (0.50, 1.0, 1.0, 240),
        "errors x2, share 0.5": (0.50, 2.0, 1.0, 60),
    }
    for name, (share, errors, slow, looks) in scenarios.items():
        plan = plan_of(share, metrics)
        ended: list[tuple[Action | None, int]] = []
        units: list[int] = []
        gates, z_tests = [], []
        for first in range(0, runs, 500):
            size = min(500, runs - first)
            stage = draw(rng, share, base, [errors, slow, 1.0], runs=size, look=250, looks=looks)
            possible = may_roll_back(plan, [stage]) | may_promote(plan, [stage])
            for run in range(size):
                action, look = judge.first(
                    plan,
                    lambda look, run=run, stage=stage, plan=plan: [  # type: ignore[misc]
                        counted(plan, stage, 0, run, look)
                    ],
                    possible[run],
                    FINAL,
                )
                ended.append((action, look))
                units.append(int(stage.units[0, run, look]))
            gate, z_test = _common(stage, metric=1 if slow != 1.0 else 0)
            gates.append(gate[:, :GATE_LOOKS].any(axis=1))
            z_tests.append(z_test[:, :GATE_LOOKS].any(axis=1))
        gate_back, z_back = np.concatenate(gates), np.concatenate(z_tests)
        final = [n for (action, _), n in zip(ended, units, strict=True) if action is not None]
        promoted = np.array([action is Action.PROMOTE for action, _ in ended])
        yield {
            "scenario": f"three guardrails, share {share:g}, {name}",
            "group": "whole-rule",
            "case": name,
            "runs": runs,
            **_shares(
                promoted=promoted,
                rolled_back=[action is Action.ROLL_BACK for action, _ in ended],
                threshold_gate_rolled_back=gate_back,
                threshold_gate_promoted=~gate_back,
                repeated_z_test_rolled_back=z_back,
                repeated_z_test_promoted=~z_back,
            ),
            "median_candidate_units": float(np.median(final)) if final else None,
            "p95_candidate_units": float(np.quantile(final, 0.95)) if final else None,
        }


def sample_ratio(runs: int, rng: np.random.Generator, judge: Judge) -> Iterator[Row]:
    """The split planned at 5%: false alarms over 500 looks, and how soon 6% is noticed."""
    plan = plan_of(0.05, [guardrail("errors", 0.25)])
    limit = -math.log(plan.srm_alpha)
    for real in (0.05, 0.06):
        at: list[int] = []
        chi2: list[bool] = []
        for first in range(0, runs, 1_000):
            size = min(1_000, runs - first)
            candidate = rng.binomial(100, real, (size, 500)).cumsum(axis=1)
            total = 100 * np.arange(1, 501)
            log_e = log_e_split(
                candidate, np.broadcast_to(total, candidate.shape), 0.05, SRM_CONCENTRATION
            )
            statistic = (candidate - 0.05 * total) ** 2 / (0.05 * 0.95 * total)
            chi2 += (statistic > 10.8276).any(axis=1).tolist()
            for run in range(size):

                def evidence(
                    look: int, own: Any = candidate[run], total: Any = total
                ) -> Sequence[StageEvidence]:
                    n, m = int(own[look]), int(total[look] - own[look])
                    counts = (Counts(units=m, events=m // 100), Counts(units=n, events=n // 100))
                    return [stage_of(plan, 0, n, m, {"errors": counts})]

                action, look = judge.first(
                    plan, evidence, log_e[run] > limit - 1e-6, (Action.HOLD,)
                )
                if action is not None:
                    at.append(int(total[look]))
        found = np.zeros(runs, bool)
        found[: len(at)] = True
        early = np.zeros(runs, bool)
        early[: sum(n <= 22_000 for n in at)] = True
        yield {
            "scenario": f"sample ratio, planned 0.05, real {real:g}, 500 looks of 100 units",
            "group": "sample-ratio",
            "runs": runs,
            **_shares(flagged=found, flagged_by_22000=early, repeated_chi2_at_0_001=chi2),
            "median_units": float(np.median(at)) if at else None,
        }


def main() -> int:
    """Run every scenario and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 to 200 runs a scenario")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, help="draw the result into this file")
    options = parser.parse_args()
    parts: tuple[
        tuple[Callable[[int, np.random.Generator, Judge], Iterator[Row]], int, int], ...
    ] = (
        (false_rollbacks, 100, 4_000),
        (drifting_ramp, 100, 4_000),
        (whole_rule, 100, 4_000),
        (sample_ratio, 200, 20_000),
        (correlated_units, 20, 400),
        (heavy_tails, 20, 400),
    )
    started = time.perf_counter()
    rows: list[Row] = []
    judge = Judge(np.random.default_rng(20_260_102))
    for index, (part, few, many) in enumerate(parts):
        runs = few if options.quick else many
        for row in part(runs, np.random.default_rng([20_260_101, index]), judge):
            rows.append(row)
            print(row, flush=True)
    report = {
        "benchmark": "ab-operating-characteristics",
        "alpha": ALPHA,
        "quick": options.quick,
        "decisions_asked": judge.asked,
        "decisions_audited": judge.audited,
        "decisions_missed": len(judge.wrong),
        "wall_s": round(time.perf_counter() - started, 1),
        "rows": rows,
    }
    if options.plot:
        draw_report(report, options.plot)
    print(json.dumps(report) if options.json else f"{report['wall_s']} s")
    return 1 if judge.wrong else 0


def _common(stage: Stage, metric: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the threshold gate and the z-test roll back, bool[runs, looks] each."""
    n, m = stage.units
    x, y = stage.events[..., metric]
    return _gate(n, m, x, y), _z(n, m, x, y) > 1.6449


def _gate(n: Any, m: Any, x: Any, y: Any) -> Any:
    return (x * m > 1.25 * y * n) & (x >= 10)


def _z(n: Any, m: Any, x: Any, y: Any) -> Any:
    pooled = (x + y) / np.maximum(n + m, 1)
    n, m = np.maximum(n, 1), np.maximum(m, 1)
    se = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
    return (x / n - y / m) / se


def _summaries(
    name: str, values: tuple[Any, Any], ends: tuple[Any, Any], objective: float
) -> Iterator[tuple[Statistic, Statistic]]:
    """Yield control and candidate, summarised up to each look."""
    for n, m in zip(*ends, strict=True):
        arms = values[1][:m], values[0][:n]
        if name == "mean":
            yield Moments.of(arms[0]), Moments.of(arms[1])
        elif name == "p95_as_quantile":
            yield Histogram.of(arms[0], Grid.LOGARITHMIC), Histogram.of(arms[1], Grid.LOGARITHMIC)
        else:
            yield (
                Counts(units=int(m), events=int((arms[0] > objective).sum())),
                Counts(units=int(n), events=int((arms[1] > objective).sum())),
            )


def _mean_gate(values: tuple[Any, Any], ends: tuple[Any, Any]) -> bool:
    means = [v.cumsum()[e - 1] / e for v, e in zip(values, ends, strict=True)]
    return bool((means[0] > 1.25 * means[1]).any())


def _mean_z(values: tuple[Any, Any], ends: tuple[Any, Any]) -> bool:
    parts = []
    for v, e in zip(values, ends, strict=True):
        mean = v.cumsum()[e - 1] / e
        parts.append((mean, ((v * v).cumsum()[e - 1] / e - mean**2) / e))
    (x, vx), (y, vy) = parts
    return bool(((x - y) / np.sqrt(vx + vy) > 1.6449).any())


def _shares(**found: Any) -> dict[str, float | None]:
    """Return each share of true values and its binomial standard error."""
    shares: dict[str, float | None] = {}
    for name, values in found.items():
        data = np.asarray(values, dtype=float)
        share = float(data.mean()) if data.size else None
        shares[name] = share
        shares[f"{name}_se"] = (
            None if share is None else round(math.sqrt(share * (1 - share) / data.size), 5)
        )
    return shares


if __name__ == "__main__":
    raise SystemExit(main())
