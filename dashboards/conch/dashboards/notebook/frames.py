"""Stories as tidy frames: one row for each thing seen, one column for each thing known of it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from conch.ab import Counts

from .stories import Story


def looks(story: Story) -> Any:
    """Return one row for each look: when, what was decided, and the first reason."""
    return pd.DataFrame(
        [
            {
                "look": number,
                "at": pd.Timestamp(record.now_s, unit="s", tz="UTC"),
                "elapsed_s": record.now_s - record.evidence.stages[0].started_s,
                "step": record.evidence.latest.step,
                "share": record.evidence.latest.share,
                "control_units": sum(s.control_units for s in record.evidence.stages),
                "candidate_units": sum(s.candidate_units for s in record.evidence.stages),
                "action": record.decision.action.value,
                "weight": record.decision.weight / 100,
                "because": record.decision.reasons[0].text if record.decision.reasons else "",
            }
            for number, record in enumerate(story.records)
        ]
    )


def results(story: Story) -> Any:
    """Return one row for each look and metric: estimate, interval, verdict, e-values."""
    rows = []
    for number, record in enumerate(story.records):
        for result in record.decision.results:
            row: dict[str, Any] = {
                "look": number,
                "elapsed_s": record.now_s - record.evidence.stages[0].started_s,
                "metric": result.metric,
                "kind": result.kind.value,
                "verdict": result.verdict.value,
                "estimate": result.estimate,
                "lower": result.lower,
                "upper": result.upper,
                "control_units": result.control_units,
                "candidate_units": result.candidate_units,
                "control_events": result.control_events,
                "candidate_events": result.candidate_events,
                "pending_share": result.pending_share,
                "method": result.method,
            }
            for claim in result.claims:
                name = claim.claim.value.replace("-", "_")
                row[f"log_e_{name}"] = claim.log_e
                row[f"needed_{name}"] = claim.log_threshold
            rows.append(row)
    return pd.DataFrame(rows)


def arms(story: Story) -> Any:
    """Return one row for each stage, metric and arm as of the last look."""
    rows = []
    for stage in story.last.evidence.stages:
        for item in stage.metrics:
            for arm, statistic in (("control", item.control), ("candidate", item.candidate)):
                counts = isinstance(statistic, Counts)
                rows.append(
                    {
                        "step": stage.step,
                        "share": stage.share,
                        "metric": item.metric,
                        "arm": arm,
                        "units": statistic.n,
                        "events": statistic.events if isinstance(statistic, Counts) else None,
                        "value": _value(statistic) if not counts or statistic.n else None,
                    }
                )
    return pd.DataFrame(rows)


def checks(story: Story) -> Any:
    """Return one row for each look and health check."""
    return pd.DataFrame(
        [
            {
                "look": number,
                "elapsed_s": record.now_s - record.evidence.stages[0].started_s,
                "check": check.name,
                "passed": check.passed,
                "value": check.value,
                "limit": check.limit,
                "because": check.because,
            }
            for number, record in enumerate(story.records)
            for check in record.decision.checks
        ]
    )


def _value(statistic: Any) -> float | None:
    """Return a rate, a mean or a ratio; None where the statistic has no single value."""
    if isinstance(statistic, Counts):
        return statistic.rate
    if hasattr(statistic, "mean_y"):
        return statistic.mean_x / statistic.mean_y if statistic.mean_y else None
    return getattr(statistic, "mean", None)
