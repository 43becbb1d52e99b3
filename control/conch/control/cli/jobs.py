"""`conch jobs`: long work, its progress and its end."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from .printing import answer, because, facts, table
from .progress import watching
from .sessions import Home, Output, session_of

app = typer.Typer(help="Long work: builds and loads.", no_args_is_help=True)

Job = Annotated[str, typer.Argument(help="The job's id.")]

_LOOK_EVERY_S = 0.3


@app.command("list")
def list_jobs(
    context: typer.Context,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only open ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: Home = None,
    output: Output = None,
) -> None:
    """List jobs, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.jobs(unfinished=unfinished, limit=limit)
    answer(session, found, _table(found))


@app.command("show")
def show(context: typer.Context, job: Job, home: Home = None, output: Output = None) -> None:
    """Show one job."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.job(job)
    answer(session, found, facts((key.replace("_", " "), value) for key, value in found.items()))


@app.command("cancel")
def cancel(context: typer.Context, job: Job, home: Home = None, output: Output = None) -> None:
    """Ask for the end of a job."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.cancel_job(job)
    answer(session, found, f"{found['label']}: {found['status']}, asked to end.")


@app.command("watch")
def watch(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="The job; without it, all open ones.")] = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 3600.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Watch one job to its end, or all open ones until none is left."""
    session = session_of(context, home, output)
    with session.client() as client:
        if job is not None:
            with watching(client.job(job)["label"]) as update:
                ended = client.wait_job(job, timeout_s=timeout, watch=update)
            answer(session, ended, f"{ended['label']}: {ended['status']}.")
            return
        _watch_all(client, timeout_s=timeout)
    answer(session, [], "Nothing is left to do.")


def _watch_all(client: Any, *, timeout_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from ..client import WaitTimeoutError

    deadline = time.monotonic() + timeout_s
    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=sys.stderr.isatty()) as live:
        while unfinished := client.jobs(unfinished=True):
            live.update(_table(unfinished))
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(f"{len(unfinished)} jobs are open after {timeout_s:g} s.")
            time.sleep(_LOOK_EVERY_S)


def _table(found: list[dict[str, Any]]) -> Any:
    heads = ("job", "what", "status", "done", "doing", "attempts", "why")
    rows = (
        (
            one["id"],
            one["label"],
            one["status"],
            f"{one['progress']:.0%}",
            one["message"],
            one["attempts"],
            because(one["outcome"]) if one["status"] == "failed" else None,
        )
        for one in found
    )
    return table(heads, rows)
