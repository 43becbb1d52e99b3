"""The documentation points at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file of this repository names one that exists."""
    for target, _ in _links(page):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_can_be_reached() -> None:
    """The README, or a page that it leads to, links to every page of `docs`."""
    reached, due = set(), [ROOT / "README.md"]
    while due:
        page = due.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        due += [
            (page.parent / target).resolve()
            for target, _ in _links(page)
            if (page.parent / target).exists()
        ]
    missing = {page for page in PAGES if "docs" in page.parts} - reached
    assert not missing, f"no way leads to {sorted(str(p.relative_to(ROOT)) for p in missing)}"


def _links(page: Path) -> list[tuple[str, str]]:
    return LINK.findall(CODE.sub("", page.read_text()))
