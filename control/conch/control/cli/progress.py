"""Live progress on standard error while a command waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .printing import told

Watch = Callable[[dict[str, Any]], None]


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """Give a function that shows what a job, or the job of a version or release, is doing.

    On a terminal this is a bar; elsewhere one line for each new message.
    """
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=1.0)

        def update(seen: dict[str, Any]) -> None:
            part, message = doing(seen)
            progress.update(bar, completed=part, description=f"{title}: {message}")

        yield update


def doing(seen: dict[str, Any]) -> tuple[float, str]:
    """Return how far the work shown by a view is (0 to 1), and what it does.

    >>> doing({"status": "preparing", "job": {"progress": 0.2, "message": "loading"}})
    (0.2, 'loading')
    >>> doing({"status": "running", "job": None})
    (0.0, 'running')
    """
    job = seen if "progress" in seen else seen.get("job")
    if not job:
        return 0.0, str(seen.get("serving") or seen.get("status") or "waiting")
    return float(job["progress"]), str(job["message"] or job.get("status", "waiting"))


def _lines(title: str) -> Watch:
    last = ""

    def update(seen: dict[str, Any]) -> None:
        nonlocal last
        _, message = doing(seen)
        if message != last:
            told(f"{title}: {message}")
            last = message

    return update
