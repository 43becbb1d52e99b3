"""Is the experiment itself sound? Checked before any metric is believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import CannotComputeError
from .evidence import Evidence
from .metrics import Kind
from .plans import ReleasePlan
from .sample_ratio import log_e_sample_ratio, sample_ratio_tests

_FEWEST_PER_ARM: Final = 8
_FEWEST_TWICE_EXPOSED: Final = 10
_MISSING_IF_EXPECTED: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One health check.

    Attributes:
        name: `data-freshness`, `sample-ratio`, `double-exposure`, `arms-present`,
            `metrics-present`.
        passed: Whether it allows a decision.
        value: What was measured; None where there was nothing to measure.
        limit: What `value` is held against.
        method: The statistic, with its version.
        because: Why, in one sentence.
    """

    name: str
    passed: bool
    value: float | None
    limit: float | None
    method: str
    because: str


def checks_of(plan: ReleasePlan, evidence: Evidence, now_s: float) -> tuple[Check, ...]:
    """Return every health check, passed or not, in a fixed order."""
    checks: tuple[Callable[[ReleasePlan, Evidence, float], Check], ...] = (
        _freshness,
        _sample_ratio,
        _double_exposure,
        _arms_present,
        _metrics_present,
    )
    return tuple(check(plan, evidence, now_s) for check in checks)


def _freshness(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Check:
    age = now_s - evidence.cut_s
    passed = 0.0 <= age <= plan.freshness_s
    told = f"data are complete up to {age:.0f} s ago, allowed are {plan.freshness_s:.0f} s"
    if age < 0.0:
        told = f"the data cut lies {-age:.0f} s in the future: clocks disagree"
    return Check(
        name="data-freshness",
        passed=passed,
        value=age,
        limit=plan.freshness_s,
        method="age-of-data-cut/1",
        because=told,
    )


def _sample_ratio(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Check:
    limit = -math.log(plan.srm_alpha)
    counted = [
        ((stage.control_units, stage.candidate_units), (1.0 - stage.share, stage.share))
        for stage in evidence.stages
        if min(stage.share, 1.0 - stage.share) * (stage.control_units + stage.candidate_units)
        >= _FEWEST_PER_ARM
    ]
    log_e = log_e_sample_ratio(counted)
    passed = log_e <= limit
    told = f"log e = {log_e:.2f} against the planned split, a mismatch is believed at {limit:.2f}"
    if counted:
        try:
            once = sample_ratio_tests(*counted[-1])
            told += f" (single-look chi-squared p in the latest stage: {once.p_pearson:.3g})"
        except CannotComputeError:
            pass  # a diagnostic that cannot be shown changes nothing
    return Check(
        name="sample-ratio",
        passed=passed,
        value=log_e,
        limit=limit,
        method="dirichlet-multinomial-e-process/1",
        because=told,
    )


def _double_exposure(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Check:
    units, both = evidence.units, evidence.exposed_to_both
    share = both / units if units else None
    broken = share is not None and share >= plan.exposure_limit and both >= _FEWEST_TWICE_EXPOSED
    return Check(
        name="double-exposure",
        passed=not broken,
        value=share,
        limit=plan.exposure_limit,
        method="share-exposed-to-both/1",
        because=f"{both} of {units} units met both arms",
    )


def _arms_present(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Check:
    latest = evidence.latest
    total = latest.control_units + latest.candidate_units
    missing = [
        f"{name} ({expected:.0f} units expected)"
        for name, units, expected in (
            ("control", latest.control_units, total * (1.0 - latest.share)),
            ("candidate", latest.candidate_units, total * latest.share),
        )
        if not units and expected >= _MISSING_IF_EXPECTED
    ]
    told = f"no units reached: {', '.join(missing)}" if missing else "both arms get units"
    return Check(
        name="arms-present",
        passed=not missing,
        value=float(min(latest.control_units, latest.candidate_units)),
        limit=None,
        method="expected-units/1",
        because=told,
    )


def _metrics_present(plan: ReleasePlan, evidence: Evidence, now_s: float) -> Check:
    latest = evidence.latest
    total = latest.control_units + latest.candidate_units
    missing = []
    for metric in plan.metrics:
        item = latest.of(metric.name)
        waiting = item.control_pending + item.candidate_pending if item else 0
        expected = max(0, total - waiting) * min(latest.share, 1.0 - latest.share)
        silent = item is None or not (item.control.n and item.candidate.n)
        if metric.kind is not Kind.DIAGNOSTIC and silent and expected >= _MISSING_IF_EXPECTED:
            missing.append(metric.name)
    told = "every guardrail and goal has data in both arms"
    if missing:
        told = f"units arrive but an arm has no data for: {', '.join(missing)}"
    return Check(
        name="metrics-present",
        passed=not missing,
        value=float(len(missing)),
        limit=0.0,
        method="expected-units/1",
        because=told,
    )
