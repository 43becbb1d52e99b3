"""`conch release shadow`: how a candidate answered copies of requests."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from .printing import answer, facts, table
from .releases import newest_of
from .sessions import Home, Output, session_of

_WIDEST: Final = 60


def shadow(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The registered model.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Show how the candidate of a model's newest release answered copies of requests."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.shadow(newest_of(client, name)["id"])
    simple = ((key.replace("_", " "), _plain(value)) for key, value in found.items())
    about = facts((key, value) for key, value in simple if key != "worst")
    heads = ("request", "differs in", "output", "by", "asked", "live", "candidate")
    keys = ("request_id", "kind", "output", "distance", "inputs", "live", "candidate")
    rows = ([_plain(one[key]) for key in keys] for one in found["worst"])
    answer(session, found, about, table(heads, rows))


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
    return value
