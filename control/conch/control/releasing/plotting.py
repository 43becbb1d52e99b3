"""A release as a picture: the share over time, and what each metric showed at every look.

Needs matplotlib (extra `plots`), which nothing else here does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conch.ab import Claim, DecisionRecord, MetricResult, from_json
from conch.core import ConchError

_COLOURS = {Claim.WORSE: "#c0392b", Claim.NOT_WORSE: "#2471a3", Claim.BETTER: "#1e8449"}
_WORDS = {Claim.WORSE: "worse", Claim.NOT_WORSE: "not worse", Claim.BETTER: "better"}


class PlotsMissingError(ConchError):
    """Drawing needs matplotlib, which is not installed."""

    code = "plots-missing"


def draw(release: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a release into a file; the form is the suffix's.

    Args:
        release: The release as the API shows it.
        decisions: Its decisions with their records, the oldest first.
        path: Where to; `.png`, `.svg` or `.pdf`.

    Raises:
        PlotsMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotsMissingError(
            "Drawing needs matplotlib.", hint="pip install 'conch[plots]'"
        ) from error
    looks = [
        (_moment(one["at"]), from_json(DecisionRecord, one["record"]))
        for one in decisions
        if one["record"] is not None
    ]
    names = [metric.name for metric in looks[-1][1].plan.metrics] if looks else []
    figure = Figure(figsize=(9, 2.2 + 2.0 * len(names)), layout="constrained")
    axes = figure.subplots(
        1 + len(names), 2 if names else 1, sharex=True, squeeze=False, width_ratios=None
    )
    _shares(axes[0][0], release, decisions)
    if names:
        _words(axes[0][1], release)
    for row, name in zip(axes[1:], names, strict=True):
        found = [(at, record.decision.result(name)) for at, record in looks]
        results = [(at, result) for at, result in found if result is not None]
        _intervals(row[0], name, results)
        _evidence(row[1], results)
    figure.autofmt_xdate()
    figure.savefig(path, dpi=120)


def _shares(axis: Any, release: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]) -> None:
    times, weights = [], []
    for stage in release["stages"]:
        times.append(_moment(stage["started_at"]))
        weights.append(stage["weight"])
    end = release["finished_at"] or (decisions[-1]["at"] if decisions else None)
    if end is not None and times:
        times += [_moment(end)]
        weights += [100.0 if release["status"] == "promoted" else weights[-1]]
        if release["status"] == "rolled-back":
            weights[-1] = 0.0
    axis.step(times, weights, where="post", color="#34495e")
    axis.set_ylim(-3, 103)
    axis.set_ylabel("candidate, %")
    axis.set_title(
        f"{release['model_name']}: version {release['candidate_version']} over "
        f"{release['baseline_version']}, {release['status']}",
        fontsize=10,
        loc="left",
    )


def _words(axis: Any, release: Mapping[str, Any]) -> None:
    import textwrap

    axis.axis("off")
    why = (release["hold"] or release["reason"] or {}).get("message", "")
    axis.text(0.0, 1.0, textwrap.fill(why, 62), va="top", fontsize=8, transform=axis.transAxes)


def _intervals(axis: Any, name: str, results: Sequence[tuple[datetime, MetricResult]]) -> None:
    known = [
        (at, one.estimate, one.lower, one.upper)
        for at, one in results
        if one.estimate is not None and one.lower is not None and one.upper is not None
    ]
    axis.axhline(0.0, color="#999999", linewidth=0.8)
    axis.set_ylabel(f"{name}\nchange, %", fontsize=8)
    if not known:
        axis.text(0.5, 0.5, "no estimate yet", ha="center", fontsize=8, transform=axis.transAxes)
        return
    times = [at for at, *_ in known]
    highest = max(3.0, *(2.0 * abs(estimate) for _, estimate, _, _ in known))
    axis.fill_between(
        times,
        [100 * low for _, _, low, _ in known],
        [100 * min(high, highest) for _, _, _, high in known],
        color="#aed6f1",
        step=None,
    )
    axis.plot(times, [100 * estimate for _, estimate, _, _ in known], color="#2471a3", marker=".")


def _evidence(axis: Any, results: Sequence[tuple[datetime, MetricResult]]) -> None:
    for claim in (Claim.WORSE, Claim.NOT_WORSE):
        tested = [(at, one.claim(claim)) for at, one in results]
        points = [
            (at, max(-0.5, min(2.0, found.log_e / found.log_threshold)))
            for at, found in tested
            if found is not None
        ]
        if points:
            axis.plot(
                [at for at, _ in points],
                [part for _, part in points],
                color=_COLOURS[claim],
                marker=".",
                label=_WORDS[claim],
            )
    axis.axhline(1.0, color="#999999", linewidth=0.8, linestyle="--")
    axis.set_ylim(-0.6, 2.1)
    axis.set_ylabel("evidence / needed", fontsize=8)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="upper left", fontsize=7)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
