"""Plots of stories. Each takes a matplotlib `Axes` or makes one, and returns it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, PercentFormatter

from conch.ab import Direction, units_to_find_harm, units_to_show_not_worse

from . import frames
from .stories import NotebookError, Story

CONTROL: Final = "#7a8793"
CANDIDATE: Final = "#0b6e75"
HARM: Final = "#b5483d"
GOOD: Final = "#4c8c4a"
_ENDS: Final = {"promote": GOOD, "roll-back": HARM, "hold": "#d98b2b"}
_WIDEST: Final = 3.0


def plot_interval(story: Story, metric: str, axes: Any = None) -> Any:
    """Plot a metric's relative change and its always-valid interval at every look."""
    axes = axes if axes is not None else _axes()
    found = frames.results(story)
    own = found[found["metric"] == metric].dropna(subset=["lower", "upper"])
    if own.empty:
        raise NotebookError(f"{story.name} has no interval of {metric!r} at any look.")
    definition = next(one for one in story.plan.metrics if one.name == metric)
    time, unit = _times(own["elapsed_s"])
    lower, upper = (
        np.clip(own[side].to_numpy(float), -1.0, _WIDEST) for side in ("lower", "upper")
    )
    axes.fill_between(
        time, lower, upper, color=CANDIDATE, alpha=0.18, lw=0, label="interval, valid at every look"
    )
    axes.plot(time, own["estimate"].astype(float), color=CANDIDATE, lw=1.8, label="estimate")
    axes.axhline(0.0, color="#555", lw=0.8)
    margin = definition.worsened(definition.margin) - 1.0
    axes.axhline(margin, color=HARM, lw=1.0, ls="--")
    axes.annotate(
        f"margin {margin:+.0%}", (1.0, margin), xycoords=("axes fraction", "data"),
        xytext=(-4, 3), textcoords="offset points", ha="right", color=HARM, fontsize=8,
    )  # fmt: skip
    better = "lower" if definition.direction is Direction.LOWER else "higher"
    axes.set_title(f"{metric}: change against the control ({better} is better)", fontsize=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    high = max(
        float(
            np.max(
                np.minimum(
                    upper, 3 * abs(margin) + float(np.nanmax(np.abs(own["estimate"].astype(float))))
                )
            )
        ),
        1.5 * margin,
    )
    low = min(float(np.min(np.maximum(lower, -1.0))), 1.5 * min(margin, 0.0))
    axes.set_ylim(low - 0.05, high + 0.05)
    _finish(story, axes, unit)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return axes


def plot_arms(story: Story, metric: str, axes: Any = None) -> Any:
    """Plot a metric's value in both arms, stage by stage."""
    axes = axes if axes is not None else _axes()
    found = frames.arms(story)
    own = found[(found["metric"] == metric) & found["value"].notna()]
    if own.empty:
        raise NotebookError(f"{story.name} has no value of {metric!r}.")
    steps = sorted(own["step"].unique())
    for offset, (arm, colour) in enumerate((("control", CONTROL), ("candidate", CANDIDATE))):
        part = own[own["arm"] == arm].set_index("step")
        places = [steps.index(step) + 0.36 * (offset - 0.5) for step in part.index]
        bars = axes.bar(places, part["value"].astype(float), width=0.34, color=colour, label=arm)
        axes.bar_label(
            bars, [f"n={units:,}" for units in part["units"]], fontsize=7, color="#555", padding=2
        )
    shares = own.drop_duplicates("step").set_index("step")["share"]
    axes.set_xticks(
        range(len(steps)),
        [f"step {step}\n{shares[step]:.0%} candidate" for step in steps],
        fontsize=8,
    )
    axes.set_title(f"{metric} by arm", fontsize=10)
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def plot_sample_ratio(story: Story, axes: Any = None) -> Any:
    """Plot the evidence against the planned split, and where it would be believed."""
    axes = axes if axes is not None else _axes()
    found = frames.checks(story)
    own = found[found["check"] == "sample-ratio"]
    time, unit = _times(own["elapsed_s"])
    limit = float(own["limit"].iloc[-1])
    values = own["value"].to_numpy(float)
    axes.plot(time, values, color=CANDIDATE, lw=1.8)
    axes.axhline(limit, color=HARM, lw=1.0, ls="--")
    axes.annotate(
        f"believed to be broken: e = {math.exp(limit):,.0f}", (0.99, limit),
        xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        ha="right", color=HARM, fontsize=8,
    )  # fmt: skip
    axes.set_ylim(min(-2.0, float(values.min()) - 0.5), max(limit, float(values.max())) * 1.2)
    axes.set_ylabel("log e-value against the planned split", fontsize=9)
    axes.set_title("Sample ratio: do units reach the arms as planned?", fontsize=10)
    _finish(story, axes, unit)
    return axes


def plot_stages(story: Story, axes: Any = None) -> Any:
    """Plot the candidate's share over time, and how it ended."""
    axes = axes if axes is not None else _axes()
    found = frames.looks(story)
    time, unit = _times(found["elapsed_s"])
    shares = 100.0 * found["share"].to_numpy(float)
    axes.step(time, shares, where="post", color=CANDIDATE, lw=1.8)
    axes.fill_between(time, 0, shares, step="post", color=CANDIDATE, alpha=0.12, lw=0)
    axes.set_ylim(0, max(8.0, shares.max() * 1.35))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axes.set_ylabel("candidate's share of the units", fontsize=9)
    axes.set_title("Stages", fontsize=10)
    _finish(story, axes, unit)
    return axes


def plot_power(
    *,
    rate: float,
    margin: float,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.5),
    ratios: Sequence[float] = (1.25, 1.5, 2.0, 3.0, 5.0),
    alpha: float = 0.05,
    axes: Any = None,
) -> Any:
    """Plot how many candidate units a release typically needs: to find harm, and to show none.

    Args:
        rate: Events per unit in the control.
        margin: Tolerated worsening.
        shares: The candidate's shares to compare.
        ratios: Harmful ratios to find.
        alpha: Error level over all looks.
        axes: Where to draw.
    """
    axes = axes if axes is not None else _axes()
    shades = np.linspace(0.35, 1.0, len(shares))
    for share, shade in zip(shares, shades, strict=True):
        harm = [units_to_find_harm(rate, ratio, share=share, alpha=alpha) for ratio in ratios]
        axes.plot(
            ratios, harm, "o-", ms=4, lw=1.5, color=HARM, alpha=shade, label=f"{share:.0%} canary"
        )
        equal = units_to_show_not_worse(rate, margin, share=share, alpha=alpha)
        axes.plot([1.0], [equal], "D", ms=6, color=GOOD, alpha=shade)
    axes.annotate(
        f"equal, shown within\n{margin:.0%} (diamonds)", (1.0, equal), xytext=(14, -2),
        textcoords="offset points", fontsize=8, color=GOOD, va="center",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1.0, *ratios], ["1", *(f"{ratio:g}" for ratio in ratios)])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(f"candidate's event rate over the control's ({rate:.1%})", fontsize=9)
    axes.set_ylabel("candidate units needed", fontsize=9)
    axes.set_title("How long it takes", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(color="#eee")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _axes() -> Any:
    return pyplot.subplots(figsize=(7.2, 3.4), layout="constrained")[1]


def _times(elapsed_s: Any) -> tuple[Any, str]:
    """Return times in a unit that fits their span."""
    values = elapsed_s.to_numpy(float)
    span = float(values.max()) if values.size else 0.0
    for unit, seconds in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if span >= 2 * seconds:
            return values / seconds, unit
    return values, "seconds"


def _finish(story: Story, axes: Any, unit: str) -> None:
    """Mark where the share changed and how it ended, and label the time."""
    found = frames.looks(story)
    time, _ = _times(found["elapsed_s"])
    for place in np.flatnonzero(np.diff(found["step"].to_numpy())) + 1:
        axes.axvline(time[place], color="#ccc", lw=0.8, zorder=0)
    ends = found[found["action"].isin(_ENDS)]
    if not ends.empty:
        first = ends.index[0]
        action = str(ends["action"].iloc[0])
        axes.axvline(time[first], color=_ENDS[action], lw=1.4)
        axes.annotate(
            action, (time[first], 1.0), xycoords=("data", "axes fraction"), xytext=(-3, -10),
            textcoords="offset points", ha="right", fontsize=8, color=_ENDS[action],
        )  # fmt: skip
    axes.set_xlabel(f"{unit} since the first exposure", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
