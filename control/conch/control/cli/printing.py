"""Answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .sessions import Format, Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from conch.core import ConchError

_WIDE: Final = 4096
"""Columns of an output that is not a terminal."""


def answer(
    session: Session, value: Any, *shown: RenderableType | Callable[[], RenderableType]
) -> None:
    """Print a value: as JSON, or as what a person reads.

    Args:
        session: Says in which form.
        value: JSON-compatible.
        shown: Tables and lines of text, or functions that make them when they are needed.
    """
    if session.output is Format.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    # What is read by a program is not folded to a terminal's width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    for one in shown:
        console.print(one() if callable(one) else one, markup=False)


def told(line: str) -> None:
    """Say something besides the answer, on standard error."""
    print(line, file=sys.stderr, flush=True)


def failed(session: Session, error: ConchError) -> None:
    """Print an error: code, message, hint; as JSON on standard output if JSON was asked for."""
    if session.output is Format.JSON:
        print(json.dumps({"error": error.as_dict()}, indent=2, ensure_ascii=False, default=str))
        return
    told(f"error [{error.code}]: {error.message}")
    if error.hint:
        told(f"hint: {error.hint}")


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = ""
) -> RenderableType:
    """Return a table; None is shown as a dash, a number is set to the right."""
    from rich.table import Table
    from rich.text import Text

    kept = [list(row) for row in rows]
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for number, head in enumerate(heads):
        numeric = all(isinstance(row[number], int | float) for row in kept) and bool(kept)
        made.add_column(head, justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        made.add_row(*(Text(words(cell)) for cell in row))
    return made


def facts(pairs: Iterable[tuple[str, Any]]) -> RenderableType:
    """Return names with their values, one a line."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, Text(words(value)))
    return made


def words(value: Any) -> str:
    """Return a JSON value as a person reads it.

    >>> words({"accuracy": 0.95}), words(None), words(True), words(12.50)
    ('accuracy=0.95', '-', 'yes', '12.5')
    """
    match value:
        case None | "" | []:
            return "-"
        case dict() if not value:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{key}={words(item)}" for key, item in value.items())
        case list():
            return ", ".join(words(item) for item in value)
    return str(value)


def because(reason: Any) -> str:
    """Return a recorded reason as one line: code, message, hint."""
    if not reason:
        return "-"
    return f"{reason.get('code', '')}: {reason.get('message', '')} {reason.get('hint', '')}".strip()
