"""A report as a page: whole, escaped, and needing nothing beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from conch.model_repo_builder.comparing import SINGLE
from conch.model_repo_builder.pages import Page, render
from conch.model_repo_builder.reports import (
    HISTOGRAM,
    BeyondReport,
    OutputReport,
    VerificationReport,
    WorstRow,
)

NASTY = "<script>alert('x')</script>"

OUTPUT = OutputReport(
    name=NASTY,
    dtype="FP32",
    tolerance=SINGLE,
    scale=1.0,
    values=4000,
    max_abs=0.25,
    max_rel=0.3,
    mismatches=3,
    non_finite=0,
    label_agreement=0.98,
    labels_seen=4,
    worst=(
        WorstRow(
            case="mixed-64",
            row=7,
            index=(2,),
            expected="0.5",
            found="0.25",
            excess="2.5e+03",
            inputs={"text": NASTY},
        ),
    ),
    rows=400,
    rows_outside=3,
    failures=("differs in 3 of 4000 values",),
    kind="branch",
    rank_correlation=0.9999,
    near_border=12,
    histogram=(3000, *(97 for _ in HISTOGRAM), 30),
)
REPORT = VerificationReport(
    rows=400,
    cases=("example-1", "mixed-64"),
    batch_sizes=(1, 7, 64),
    axes={"length": (5, 8)},
    outputs=(OUTPUT,),
    strong=False,
    weaknesses=("no row lies near a border",),
    beyond=(BeyondReport(case="nan", output="y", what="differs in 2 of 28 values"),),
)


class _Links(HTMLParser):
    """Collects tags, and addresses that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_page_needs_nothing_beside_it() -> None:
    """No script, no link, no image; a model's own words cannot add any."""
    page = render(Page(title=NASTY, verification=REPORT, facts={"build": NASTY}))
    parser = _Links()
    parser.feed(page)
    assert "script" not in parser.tags
    assert not parser.fetched
    assert "@import" not in page
    assert "svg" in parser.tags


def test_a_page_shows_the_worst_rows_and_why() -> None:
    """Verdict, failure, the row that was asked, the histogram's counts, the weakness."""
    page = render(Page(title="digits, version 2", verification=REPORT, reason="Refused by me."))
    text = re.sub(r"<[^>]+>", " ", page)
    for words in (
        "do not agree",
        "Refused by me.",
        "differs in 3 of 4000 values",
        "a few rows take another branch",
        "mixed-64",
        "2.5e+03",
        "3 of 400",
        "98.00%",
        "3.0k",
        "no row lies near a border",
        "nan: y differs in 2 of 28 values",
        "length: 5, 8",
    ):
        assert words in text


def test_an_agreeing_report_says_so() -> None:
    """Strong evidence in green words, weak evidence in others."""
    good = replace(OUTPUT, name="y", failures=(), kind="", mismatches=0)
    strong = replace(REPORT, outputs=(good,), strong=True, weaknesses=())
    assert "the evidence is strong" in render(Page(title="m", verification=strong))
    weak = replace(REPORT, outputs=(good,))
    assert "the evidence is weak" in render(Page(title="m", verification=weak))


def test_a_report_survives_json() -> None:
    """With failures, histogram, rows asked, and what lies beyond."""
    assert VerificationReport.from_dict(REPORT.as_dict()) == REPORT
