"""From a metric and its evidence to a result: what is established, and why or why not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import CannotComputeError
from .evidence import StageEvidence, pairs_of
from .measuring import METHODS, Found, Pairs, bounds_of, found_in
from .metrics import Measure, Metric
from .moments import Counts
from .results import Claim, MetricResult, TestedClaim, Verdict


def analyse(
    metric: Metric,
    stages: Sequence[StageEvidence],
    *,
    assignment_unit: str,
    alpha: float = 0.05,
    family: int = 1,
) -> MetricResult:
    """Return what the evidence says about one metric; never a number for a failed computation.

    Args:
        metric: The metric.
        stages: Stages in order of time; those without the metric are passed over.
        assignment_unit: What traffic is assigned by, such as `request` or `user`.
        alpha: Error level per claim.
        family: Number of guardrails among which one proven harm rolls back; "worse" is held
            against family / alpha.
    """
    pairs = pairs_of(stages, metric.name)
    try:
        if not pairs:
            raise CannotComputeError("there is no data for it yet.")
        if metric.window_s and not any(item.control.n + item.candidate.n for _, item in pairs):
            raise CannotComputeError(
                f"outcomes may come up to {metric.window_s:g} s after a unit's assignment, and no "
                "unit's window has closed yet."
            )
        if metric.counted_per != assignment_unit and metric.measure is not Measure.RATIO:
            raise CannotComputeError(
                f"it is counted per {metric.counted_per} while traffic is assigned per "
                f"{assignment_unit}: observations of one {assignment_unit} go together, and "
                "counting them as independent finds effects that are not there."
            )
        found = found_in(metric, pairs, alpha)
    except CannotComputeError as error:
        return _result(
            metric, pairs, verdict=Verdict.INCONCLUSIVE, because=f"inconclusive, because {error}"
        )
    thresholds = {Claim.WORSE: math.log(family / alpha)}
    claims = tuple(
        TestedClaim(
            claim=claim,
            bound=bound,
            log_e=found.log_e[claim],
            log_threshold=thresholds.get(claim, -math.log(alpha)),
        )
        for claim, bound in bounds_of(metric).items()
    )
    verdict, because = _judge(claims)
    return _result(metric, pairs, verdict=verdict, because=because, found=found, claims=claims)


def _judge(claims: Sequence[TestedClaim]) -> tuple[Verdict, str]:
    by_claim = {item.claim: item for item in claims}
    for claim, verdict in (
        (Claim.WORSE, Verdict.HARMED),
        (Claim.BETTER, Verdict.BETTER),
        (Claim.NOT_WORSE, Verdict.NOT_WORSE),
    ):
        if by_claim[claim].established:
            return verdict, f"{verdict.value}: {by_claim[claim].describe()}."
    return (
        Verdict.INCONCLUSIVE,
        "inconclusive, because "
        f"{by_claim[Claim.NOT_WORSE].describe()}, and {by_claim[Claim.WORSE].describe()}.",
    )


def _result(
    metric: Metric,
    pairs: Pairs,
    *,
    verdict: Verdict,
    because: str,
    found: Found | None = None,
    claims: tuple[TestedClaim, ...] = (),
) -> MetricResult:
    counted = metric.measure is Measure.EVENT_RATE
    return MetricResult(
        metric=metric.name,
        kind=metric.kind,
        verdict=verdict,
        because=because,
        estimate=found.estimate if found else None,
        lower=found.lower if found else None,
        upper=found.upper if found else None,
        claims=claims,
        control_units=sum(item.control.n for _, item in pairs),
        candidate_units=sum(item.candidate.n for _, item in pairs),
        control_events=_events_in([item.control for _, item in pairs]) if counted else None,
        candidate_events=_events_in([item.candidate for _, item in pairs]) if counted else None,
        method=METHODS[metric.measure],
        pending_share=_pending_share(pairs) if metric.window_s else None,
    )


def _pending_share(pairs: Pairs) -> float | None:
    waiting = sum(item.control_pending + item.candidate_pending for _, item in pairs)
    counted = sum(item.control.n + item.candidate.n for _, item in pairs)
    return waiting / (waiting + counted) if waiting + counted else None


def _events_in(statistics: Sequence[object]) -> int:
    return sum(item.events for item in statistics if isinstance(item, Counts))
