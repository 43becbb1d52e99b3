"""A verification report as one page that a person can read: HTML with nothing beside it.

The page needs no script, no font and no other file; it can be mailed, kept with a ticket, and read
in ten years. Everything that stands on it comes from `report.json` and `manifest.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from .diagnosing import WORDS, FaultKind
from .histograms import histogram
from .reports import OutputReport, VerificationReport, WorstRow

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0;
  --paper: #ffffff; --good: #1a7f37; --bad: #b42318; --warn: #8a5a00; --bar: #4878b0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa4af; --line: #3a424c;
  --paper: #14181d; --good: #5bbf74; --bad: #f2857b; --warn: #dfb35a; --bar: #7aa7dd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } p { margin: .3rem 0; max-width: 60rem; }
.soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.warn { color: var(--warn); } .verdict { font-size: 1.15rem; font-weight: 600; margin: .8rem 0 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin: .4rem 0; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, .mono { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
ul { margin: .3rem 0; padding-left: 1.2rem; } svg text { fill: var(--soft); font: 11px sans-serif; }
svg rect { fill: var(--bar); } svg line { stroke: var(--bad); stroke-dasharray: 3 3; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page tells.

    Attributes:
        title: Such as `digits, version 2`.
        verification: The report.
        steps: What conversion did and skipped: `name`, `taken`, `reason`.
        facts: Names and values of the build, for the head of the page.
        variants: What was timed, see `Manifest.variants`; empty where nothing was.
        reason: Why the version was refused, in words; empty if it was not.
    """

    title: str
    verification: VerificationReport
    steps: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    reason: str = ""


def render(page: Page) -> str:
    """Return a page as HTML."""
    report = page.verification
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        '<p class="soft">Does the converted model answer what the registered model answers?</p>',
        _verdict(page),
        _facts(page.facts),
        "<h2>Outputs</h2>",
        _outputs(report.outputs),
        *(_output(one) for one in report.outputs),
        *_metric(report),
        "<h2>How much this proves</h2>",
        _evidence(report),
        *_beyond(report),
        *_variants(page.variants),
        *_steps(page.steps),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}: verification</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _verdict(page: Page) -> str:
    report = page.verification
    if not report.passed:
        said = f"<p>{escape(page.reason)}</p>" if page.reason else ""
        return f'<p class="verdict bad">Refused: the answers do not agree.</p>{said}'
    rows = f"{report.rows:,} rows in {len(report.cases)} cases"
    if page.reason:
        return f'<p class="verdict bad">Refused.</p><p>{escape(page.reason)}</p>'
    if report.strong:
        return f'<p class="verdict good">The answers agree on {rows}; the evidence is strong.</p>'
    return f'<p class="verdict warn">The answers agree on {rows}, but the evidence is weak.</p>'


def _facts(facts: Mapping[str, str]) -> str:
    rows = [
        f'<tr><th>{escape(name)}</th><td class="mono">{escape(value)}</td></tr>'
        for name, value in facts.items()
        if value
    ]
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>' if rows else ""


def _outputs(outputs: Sequence[OutputReport]) -> str:
    return _table(
        ("output", "type", "verdict"),
        (
            "values",
            "largest difference",
            "relative",
            "rows outside",
            "labels agree",
            "rank correlation",
            "drift",
            "near a border",
        ),
        (
            (
                (
                    f"<code>{escape(one.name)}</code>",
                    escape(one.dtype),
                    '<span class="good">agrees</span>'
                    if one.passed
                    else '<span class="bad">differs</span>',
                ),
                (
                    f"{one.values:,}",
                    f"{one.max_abs:.2g}",
                    f"{one.max_rel:.2g}",
                    f"{one.rows_outside:,} of {one.rows:,}",
                    _or_dash(one.label_agreement, ".2%"),
                    _or_dash(one.rank_correlation, ".4f"),
                    _or_dash(one.drift, ".2g"),
                    _or_dash(one.near_border, ","),
                ),
            )
            for one in outputs
        ),
    )


def _output(one: OutputReport) -> str:
    allowed = one.tolerance
    rule = (
        "Elements must be equal."
        if not allowed.rtol
        else f"Allowed per element: {allowed.rtol:g} of it, and {allowed.atol:g} of the scale "
        f"({one.scale:.3g})."
    )
    more = [
        f"{allowed.outside:.0%} of the rows may lie outside" if allowed.outside else "",
        f"{allowed.labels:.0%} of the labels must agree" if allowed.labels < 1 else "",
        f"rank correlation at least {allowed.rank:g}" if allowed.rank is not None else "",
        f"drift at most {allowed.drift:g}" if allowed.drift is not None else "",
        "typical rows only" if allowed.typical else "",
    ]
    also = "; ".join(text for text in more if text)
    lines = [
        f"<h3><code>{escape(one.name)}</code></h3>",
        f'<p class="soft">{escape(rule)} {escape(also)} Why: {escape(allowed.why)}.</p>',
    ]
    lines += [f'<p class="bad">{escape(text)}</p>' for text in (one.problem, *one.failures) if text]
    if one.kind:
        lines.append(f"<p>It looks like: {escape(WORDS[FaultKind(one.kind)])}.</p>")
    if one.histogram and one.dtype.startswith("FP"):
        lines.append(histogram(one.histogram, allowed.atol))
    shown = [row for row in one.worst if row.excess != "0"]
    if shown:
        lines.append("<p>The rows that differ most:</p>")
        lines.append(_worst(shown))
    elif not one.problem:
        lines.append('<p class="soft">No element differs at all.</p>')
    return "\n".join(lines)


def _worst(rows: Sequence[WorstRow]) -> str:
    return _table(
        ("case", "asked"),
        ("row", "element", "registered", "converted", "of what is allowed"),
        (
            (
                (
                    escape(row.case),
                    "<br>".join(
                        f'<span class="mono">{escape(name)}: {escape(text)}</span>'
                        for name, text in row.inputs.items()
                    )
                    or "-",
                ),
                (
                    str(row.row),
                    escape(", ".join(map(str, row.index)) or "-"),
                    escape(row.expected),
                    escape(row.found),
                    escape(row.excess),
                ),
            )
            for row in rows
        ),
    )


def _metric(report: VerificationReport) -> list[str]:
    one = report.metric
    if one is None:
        return []
    verdict = "allowed" if one.passed else "more than is allowed"
    return [
        "<h2>On labelled rows</h2>",
        f"<p>{escape(one.name)} of <code>{escape(one.output)}</code> on {one.rows:,} rows: "
        f"{one.source:.5g} registered, {one.converted:.5g} converted. A loss of "
        f"{one.loss:.3g} is {verdict} ({one.allowed_loss:g}).</p>",
    ]


def _evidence(report: VerificationReport) -> str:
    axes = "; ".join(f"{name}: {', '.join(map(str, sizes))}" for name, sizes in report.axes.items())
    lines = [
        f"<p>{report.rows:,} rows; batches of {', '.join(map(str, report.batch_sizes)) or 'none'}"
        + (f"; other axes {escape(axes)}" if axes else "")
        + f"; seed {report.seed}; computed in {escape(report.precision)}.</p>",
        f'<p class="soft">Cases: {escape(", ".join(report.cases))}.</p>',
    ]
    if report.weaknesses:
        lines.append("<p class='warn'>Weak, because:</p>")
        lines.append(_list(report.weaknesses))
    if report.notes:
        lines += ["<p>Notes:</p>", _list(report.notes)]
    return "\n".join(lines)


def _beyond(report: VerificationReport) -> list[str]:
    if not report.beyond:
        return []
    return [
        "<h2>Beyond what the model was made for</h2>",
        '<p class="soft">Extreme numbers, NaN, infinity, integers at their bounds, a batch of no '
        "rows. Runtimes differ here without being wrong, so this refuses nothing.</p>",
        _list(f"{one.case}: {one.output} {one.what}" for one in report.beyond),
    ]


def _variants(variants: Sequence[Mapping[str, Any]]) -> list[str]:
    if not variants:
        return []
    sizes = sorted({size for one in variants for size in one["times_us"]}, key=int)
    rows = (
        (
            (
                f"<code>{escape(str(one['name']))}</code>",
                '<span class="good">serves</span>' if one.get("serves") else "",
            ),
            (
                *(_or_dash(one["times_us"].get(size), ".1f") for size in sizes),
                _or_dash(one.get("speedup"), ".2f"),
            ),
        )
        for one in variants
    )
    return [
        "<h2>Variants</h2>",
        '<p class="soft">Median microseconds of one run on the machine that built, by batch size; '
        "how many times as fast as the first variant.</p>",
        _table(("variant", ""), (*(f"batch {size}" for size in sizes), "times as fast"), rows),
    ]


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    if not steps:
        return []
    rows = (
        (
            (
                f"<code>{escape(str(step['name']))}</code>",
                "taken" if step["taken"] else '<span class="soft">not taken</span>',
                escape(str(step["reason"])),
            ),
            (),
        )
        for step in steps
    )
    return ["<h2>Steps</h2>", _table(("step", "", "why"), (), rows)]


Row = tuple[Sequence[str], Sequence[str]]


def _table(words: Sequence[str], numbers: Sequence[str], rows: Iterable[Row]) -> str:
    """A table of cells that are HTML already: words to the left, numbers to the right."""
    head = "".join(f"<th>{escape(one)}</th>" for one in words)
    head += "".join(f'<th class="n">{escape(one)}</th>' for one in numbers)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{cell}</td>" for cell in left)
        + "".join(f'<td class="n">{cell}</td>' for cell in right)
        + "</tr>"
        for left, right in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
