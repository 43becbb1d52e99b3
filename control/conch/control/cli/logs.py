"""`conch logs`: what the processes wrote."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from .sessions import Format, Home, Output, Session, session_of

_LOOK_EVERY_S = 0.25


def logs(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A process, such as control; without it, all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 40,
    home: Home = None,
    output: Output = None,
) -> None:
    """Print the processes' logs; with JSON, one object a line."""
    session = session_of(context, home, output)
    files = _files(session)
    if name is not None:
        if name not in files:
            raise typer.BadParameter(f"there is no log {name!r}; there are {', '.join(files)}")
        files = {name: files[name]}
    ends = {}
    for one, path in files.items():
        last, ends[one] = _tail(path, lines)
        for line in last:
            _print(session, one, line, alone=name is not None)
    if follow:
        for one, line in following(files, ends):
            _print(session, one, line, alone=name is not None)


def _files(session: Session) -> dict[str, Path]:
    """Return the home's log files by the name of their process."""
    root = session.running().home
    found = [*root.glob("serving/logs/*.log"), *root.glob("logs/*.log")]
    return {path.stem: path for path in sorted(found)}


def _tail(path: Path, lines: int) -> tuple[list[str], int]:
    """Return a file's last lines, and the place up to which it was read."""
    with path.open("rb") as file:
        last = deque(file, maxlen=lines)
        return [line.decode(errors="replace").rstrip("\n") for line in last], file.tell()


def following(files: dict[str, Path], ends: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield whole lines as they are written, until a person interrupts."""
    while True:
        for name, path in files.items():
            size = path.stat().st_size if path.exists() else 0
            if size < ends[name]:  # begun anew
                ends[name] = 0
            if size == ends[name]:
                continue
            with path.open("rb") as file:
                file.seek(ends[name])
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    ends[name] += len(line)
                    yield name, line.decode(errors="replace").rstrip("\n")
        time.sleep(_LOOK_EVERY_S)


def _print(session: Session, name: str, line: str, *, alone: bool) -> None:
    if session.output is Format.JSON:
        print(json.dumps({"log": name, "line": line}, ensure_ascii=False), flush=True)
    else:
        print(line if alone else f"{name}: {line}", flush=True)
