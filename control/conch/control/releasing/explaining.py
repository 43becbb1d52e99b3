"""A release in sentences: where it stands, what each metric shows, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from conch.ab import Claim, Decision, DecisionRecord, MetricResult, Verdict, from_json

from ..plans import plan_of
from ..reading import DecisionView, ReleaseView

_ENDED = ("promoted", "rolled-back", "failed")


def explain(release: ReleaseView, decisions: Sequence[DecisionView]) -> tuple[str, ...]:
    """Return what a person should know of a release, a sentence or two for each thing.

    Args:
        release: The release.
        decisions: Its decisions with their records, the newest first.
    """
    return tuple(_sentences(release, decisions))


def _sentences(release: ReleaseView, decisions: Sequence[DecisionView]) -> Iterator[str]:
    new, old = f"version {release.candidate_version}", f"version {release.baseline_version}"
    how = "by hand" if release.plan is None else f"by the plan {release.plan!r}"
    yield (
        f"{release.model_name}: the release of {new} over {old}, {how}, started by "
        f"{release.created_by} at {clock(release.created_at)}."
    )
    yield _standing(release, new, old)
    newest = next((one for one in decisions if one.record is not None), None)
    if newest is not None and newest.record is not None:
        record = from_json(DecisionRecord, newest.record)
        yield (
            f"The last look was at {clock(newest.at)}, on everything counted up to "
            f"{clock(datetime.fromtimestamp(record.decision.cut_s, UTC))}."
        )
        if record.evidence.counted:
            yield f"Counted is {record.evidence.counted}."
        yield from _broken(record.decision)
        for result in record.decision.results:
            yield metric_sentence(result, new, old, alpha=record.plan.alpha)
    yield from _next(release, decisions)


def _standing(release: ReleaseView, new: str, old: str) -> str:
    reason = "" if release.reason is None else f" {release.reason.get('message', '')}"
    share = f"{release.weight:g} %"
    match release.status:
        case "preparing":
            return (
                f"{new} is being loaded and checked beside {old}; it gets no traffic yet.".replace(
                    "version", "Version", 1
                )
            )
        case "shadowing":
            return "Copies of requests go to the new version; its answers are compared, not used."
        case "running":
            since = release.stages[-1].started_at if release.stages else release.created_at
            return f"It has had {share} of the traffic since {clock(since)}."
        case "baking":
            since = release.stages[-1].started_at if release.stages else release.created_at
            return (
                f"It was promoted at {clock(since)} and has {share}; {old} keeps the rest for "
                "comparison until the bake time ends, and harm still rolls it back."
            )
        case "promoted":
            return f"It has all traffic since {clock(release.finished_at)}."
        case "rolled-back":
            return f"It was rolled back at {clock(release.finished_at)}.{reason}"
        case _:
            return f"It ended at {clock(release.finished_at)} without traffic.{reason}"


def _broken(decision: Decision) -> Iterator[str]:
    failed = [check for check in decision.checks if not check.passed]
    for check in failed:
        yield f"The comparison itself is broken ({check.name}): {check.because}."
    if not failed:
        yield "The comparison is sound: the split is as planned, and data are fresh."


def metric_sentence(result: MetricResult, new: str, old: str, *, alpha: float) -> str:
    """Return what one metric shows of two arms, which are called by these names.

    Args:
        result: The metric's.
        new: The candidate's name.
        old: The control's.
        alpha: The error level that its interval holds.
    """
    parts = [f"{result.metric} ({result.kind.value}):"]
    if result.candidate_events is not None and result.control_events is not None:
        parts.append(
            f"{_of(result.candidate_events, result.candidate_units)} with {new}, "
            f"{_of(result.control_events, result.control_units)} with {old}."
        )
    else:
        parts.append(
            f"{result.candidate_units:,} units with {new}, {result.control_units:,} others."
        )
    if result.estimate is not None and result.lower is not None and result.upper is not None:
        parts.append(
            f"That is {_change(result.estimate)}; at every look the truth lies between "
            f"{_change(result.lower)} and {_change(result.upper)} with "
            f"{100 * (1 - alpha):.4g} % certainty."
        )
    parts.append(_verdict(result))
    return " ".join(parts)


def _verdict(result: MetricResult) -> str:
    worse, fine = result.claim(Claim.WORSE), result.claim(Claim.NOT_WORSE)
    match result.verdict:
        case Verdict.HARMED:
            return f"Harm is proven: {result.because.partition(': ')[2]}"
        case Verdict.BETTER:
            return "It is better, and that is proven."
        case Verdict.NOT_WORSE:
            return "It is shown to be no worse than the margin allows."
    if worse is None or fine is None:
        return result.because[0].upper() + result.because[1:]
    return (
        "Neither is shown yet: for harm the evidence is "
        f"{_part(worse.log_e, worse.log_threshold)}, for being fine "
        f"{_part(fine.log_e, fine.log_threshold)} of what is needed."
    )


def _next(release: ReleaseView, decisions: Sequence[DecisionView]) -> Iterator[str]:
    if release.status in _ENDED or release.plan_body is None:
        return
    if release.hold is not None:
        yield f"It is held ({release.hold['code']}): {release.hold['message']}"
    elif decisions and decisions[0].action == "stay":
        yield f"It goes on when this is no longer so: {decisions[0].message}"
    plan = plan_of(release.plan_body)
    ahead = [f"{step.weight / 100:g} %" for step in plan.rule.steps]
    done = release.stages[-1].step + 1 if release.stages else 0
    if release.status == "running":
        rest = [*ahead[done:], "promotion"]
        yield f"Ahead are: {', '.join(rest)}, then a bake time of {plan.rule.bake_s:.0f} s."


def _of(events: int, units: int) -> str:
    share = f" ({events / units:.2%})" if units else ""
    return f"{events:,} of {units:,} units{share}"


def _change(relative: float) -> str:
    if relative == float("inf"):
        return "no known limit"
    if abs(relative) < 0.0005:
        return "no change"
    return f"{abs(relative):.1%} {'more' if relative > 0 else 'less'}"


def _part(log_e: float, log_threshold: float) -> str:
    return f"{max(0.0, min(1.0, log_e / log_threshold)):.0%}"


def clock(moment: datetime | None) -> str:
    """Return a moment as people read it, in UTC; a dash where there is none."""
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
