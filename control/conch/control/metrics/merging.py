"""Many pages of metrics as one, each page's series told apart by labels of its own.

Prometheus then has one address to look at. Names and values stay as they were written, since
dashboards know them: a parser would put `_total` behind Triton's counters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_COMMENT: Final = re.compile(r"# (?P<kind>HELP|TYPE) (?P<name>\S+)")
_SERIES: Final = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?(?P<value> .+)"
)
_ENDING: Final = re.compile(r"_(bucket|sum|count)$")


@dataclass(slots=True)
class _Family:
    """A metric's lines: what describes it, by kind, and its series."""

    about: dict[str, str] = field(default_factory=dict)
    series: list[str] = field(default_factory=list)


def merged(pages: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Return one page of several, in Prometheus's text format 0.0.4.

    A family's lines stand together, as the format asks; what describes it comes from the first page
    that has it. Lines that are neither are left out.

    Args:
        pages: Each page's text, and the labels that its series get.

    >>> print(merged([("# TYPE up gauge\\nup 1\\n", {"slot": "a"}), ('up{x="y"} 2', {})]), end="")
    # TYPE up gauge
    up{slot="a"} 1
    up{x="y"} 2
    """
    families: dict[str, _Family] = {}
    for text, labels in pages:
        added = [f'{name}="{value}"' for name, value in labels.items()]
        for line in text.splitlines():
            if comment := _COMMENT.match(line):
                about = families.setdefault(comment["name"], _Family()).about
                about.setdefault(comment["kind"], line)
            elif found := _SERIES.fullmatch(line):
                inside = ",".join([*added, *([found["labels"]] if found["labels"] else [])])
                written = f"{found['name']}{{{inside}}}{found['value']}" if inside else line
                _family(families, found["name"]).series.append(written)
    lines = (
        line
        for family in families.values()
        if family.series
        for line in (*family.about.values(), *family.series)
    )
    return "".join(f"{line}\n" for line in lines)


def _family(families: dict[str, _Family], name: str) -> _Family:
    """Return the family of a series: a histogram's or summary's parts belong to its own name."""
    whole = _ENDING.sub("", name)
    return families.setdefault(whole if whole in families else name, _Family())
