"""`conch predict`: ask a model from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .printing import answer, facts
from .sessions import Home, Output, session_of

_STDIN = "-"


def predict(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The registered model.")],
    data: Annotated[
        str,
        typer.Option(
            help="JSON, a file of it, or - for standard input: an object of nested "
            "lists by tensor name, one nested list, or a list of row objects."
        ),
    ],
    version: Annotated[int | None, typer.Option(help="Pin a registered version.")] = None,
    unit: Annotated[str | None, typer.Option(help="Whom it is for; sticks to its version.")] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Ask a model, and say which version answered."""
    session = session_of(context, home, output)
    inputs = _read(data)
    with session.client() as client:
        found = client.predict(name, inputs, version=version, unit=unit)
    semantic = found["semantic_version"]
    about = facts(
        (
            ("version", f"{found['model_version']} ({semantic})"),
            ("took", f"{found['latency_ms']:g} ms"),
            ("prediction id", found["prediction_id"]),
            *((name, json.dumps(value)) for name, value in found["outputs"].items()),
        )
    )
    answer(session, found, about)


def _read(data: str) -> dict[str, Any] | list[Any]:
    if data == _STDIN:
        text = sys.stdin.read()
    elif data.lstrip()[:1] in ("{", "["):
        text = data
    else:
        try:
            text = Path(data).read_text(encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"--data: {error}") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--data is not JSON: {error}") from error
    if not isinstance(value, dict | list):
        raise typer.BadParameter("--data is neither an object nor a list")
    return value
