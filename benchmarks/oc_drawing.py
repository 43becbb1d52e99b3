"""The operating characteristics as a picture: wrong roll-backs on the left, speed on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {"conch": "#0b6e75", "gate": "#d98b2b", "z": "#b5483d"}


def draw_report(report: dict[str, Any], path: Path) -> None:
    """Draw a report of `ab_operating_characteristics` into a file (needs matplotlib)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = report["rows"]
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(11, 4.6), layout="constrained", width_ratios=(1.35, 1)
    )
    _wrong(left, [row for row in rows if row["group"] == "false-rollback"])
    _speed(right, [row for row in rows if row["group"] == "whole-rule"])
    figure.savefig(path, dpi=140, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _wrong(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = (
        ("false_rollback", "conch", "conch"),
        ("threshold_gate", "gate at 1.25 times the control", "gate"),
        ("repeated_z_test", "z-test at every look", "z"),
    )
    for offset, (key, label, colour) in enumerate(names):
        axes.bar(
            [index + 0.27 * (offset - 1) for index in range(len(rows))],
            [100 * row[key] for row in rows],
            width=0.25,
            yerr=[196 * row[f"{key}_se"] for row in rows],
            error_kw={"lw": 0.8, "ecolor": "#444"},
            color=COLOURS[colour],
            label=label,
        )
    axes.axhline(100 * 0.05, color="#444", lw=1, ls="--")
    axes.annotate("promised: 5%", (-0.5, 5.6), ha="right", fontsize=8, color="#444")
    axes.set_xticks(
        range(len(rows)),
        [f"{100 * row['rate']:g}%" for row in rows],
        fontsize=8,
    )
    for first in range(0, len(rows), 3):
        axes.annotate(
            f"canary {100 * rows[first]['share']:g}%", (first + 1, -0.13),
            xycoords=("data", "axes fraction"), ha="center", fontsize=9,
        )  # fmt: skip
        if first:
            axes.axvline(first - 0.5, color="#ddd", lw=0.8)
    axes.set_xlabel("error rate of both versions", labelpad=26, fontsize=9)
    axes.set_ylabel("% of releases rolled back")
    axes.set_title("Identical versions, 200 looks: rolled back by mistake", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    axes.set_ylim(0, 100)
    axes.set_xlim(-2.0, len(rows) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)


def _speed(axes: Any, rows: list[dict[str, Any]]) -> None:
    wanted = ("errors x3", "errors x2", "slow share x1.3", "errors x1.5", "identical")
    found = [row for case in wanted for row in rows if row["case"] == case]
    for place, row in enumerate(found):
        promoted = row["promoted"] > 0.5
        colour = "#4c8c4a" if promoted else COLOURS["conch"]
        median, late = row["median_candidate_units"], row["p95_candidate_units"]
        axes.plot([median, late], [place, place], color=colour, lw=1.5)
        axes.plot([median], [place], "o", color=colour)
        axes.plot([late], [place], "|", color=colour, ms=9)
        verb = "promoted" if promoted else "rolled back"
        axes.annotate(
            f"{verb}, median {median:,.0f}", (median, place + 0.16), fontsize=8, color=colour
        )
    axes.set_yticks(range(len(found)), [row["case"] for row in found], fontsize=9)
    axes.set_ylim(-0.5, len(found) - 0.3)
    axes.set_xscale("log")
    axes.margins(x=0.22)
    axes.set_xlabel("candidate requests until the decision (dot: median, bar: 95%)", fontsize=9)
    axes.set_title("5% canary, errors 1%: how soon", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#eee")
