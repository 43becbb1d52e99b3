"""`conch up`, `down`, `status`, `sweep`, `demo`: the platform as a whole."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .printing import answer, facts, table, told
from .sessions import Format, Home, Output, Session, session_of

if TYPE_CHECKING:
    from ..settings import Settings


def up(
    context: typer.Context,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Become the supervisor, for systemd or a container."),
    ] = False,
    mlflow: Annotated[
        bool, typer.Option(help="Start an MLflow server where the settings name none.")
    ] = True,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 240.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Start everything on this machine and wait until it is ready; a second call just waits."""
    from .. import platform

    session = session_of(context, home, output)
    settings = _settings(session)
    if foreground:
        platform.prepare(settings, mlflow=mlflow)
        supervisor = [sys.executable, "-m", "conch.local.supervising"]
        where = ["--home", str(platform.serving_home(settings))]
        os.execv(sys.executable, [*supervisor, *where])
    found = platform.up(settings, on_progress=told, mlflow=mlflow, timeout_s=timeout)
    answer(session, found.as_dict(), _addresses(found.as_dict()))


def down(
    context: typer.Context,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 60.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Drain and stop everything; models and state stay on disk."""
    from .. import platform

    session = session_of(context, home, output)
    ran = platform.down(session.running(), timeout_s=timeout)
    answer(session, {"stopped": ran}, "Stopped." if ran else "Nothing was running.")


def status(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Show processes, servers and what they hold; exits with 3 where nothing runs."""
    from conch.core import ConchError

    from .. import platform

    session = session_of(context, home, output)
    found = platform.status(session.running())
    inside: dict[str, Any] | None = None
    if found.running:
        try:
            with session.client() as client:
                inside = client.status()
        except ConchError as error:
            told(f"the control plane does not answer: {error}")
    value = {**found.as_dict(), "control": inside}
    shown = [_addresses(value), "", _processes(value)] if found.running else ["Nothing runs."]
    answer(session, value, *shown, *(_inside(inside) if inside else ()))
    if not found.running:
        raise typer.Exit(Exit.NOT_RUNNING)
    if not found.ready or inside is None:
        raise typer.Exit(Exit.FAILED)


def sweep(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Look at the registry now, and show what changed."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.sweep(wait=True)
    rows = ((one["kind"], one["name"], one["version"]) for one in found["changes"])
    shown = table(("change", "model", "version"), rows) if found["changes"] else "Nothing changed."
    answer(session, found, shown)


def scale(
    context: typer.Context,
    slot: Annotated[str, typer.Argument(help="The slot, or `all`.")],
    replicas: Annotated[int, typer.Argument(min=1, max=16, help="Model servers in it.")],
    wait: Annotated[bool, typer.Option(help="Wait until they are ready.")] = True,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 120.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Change how many model servers a slot has, without losing a request."""
    from .. import platform

    session = session_of(context, home, output)
    with session.client() as client:
        found = client.scale(replicas, slot=slot)
    if wait:
        platform.wait(session.running(), timeout_s=timeout)
    shown = table(("slot", "servers"), sorted(found["slots"].items()))
    answer(session, found, shown)


def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    home: Home = None,
    output: Output = None,
) -> None:
    """Train, register, verify, serve, release and roll back a small model, under load."""
    from .. import demo as story

    session = session_of(context, home, output)
    as_json = session.output is Format.JSON
    code = story.run(_settings(session), once=once, say=told if as_json else print)
    if as_json:
        answer(session, {"passed": code == 0})
    raise typer.Exit(code)


def _settings(session: Session) -> Settings:
    """Return the settings to bring up with: those that run already, where something does."""
    from .. import platform

    running = session.running()
    return running if platform.status(running).running else session.settings()


def _addresses(value: dict[str, Any]) -> Any:
    return facts(
        (
            ("inference", value["inference_url"]),
            ("control API", f"{value['control_url']}/docs"),
            ("MLflow", value["mlflow_url"]),
            ("home", value["home"]),
        )
    )


def _processes(value: dict[str, Any]) -> Any:
    keys = ("name", "phase", "pid", "restarts", "last_exit", "log")
    heads = ("process", "phase", "pid", "restarts", "last exit", "log")
    return table(heads, ([one[key] for key in keys] for one in value["processes"]))


def _inside(value: dict[str, Any]) -> list[Any]:
    counts = ((name.replace("_", " "), count) for name, count in value["counts"].items())
    age = value["sweep_age_s"]
    seen = "never" if age is None else f"{age:.0f} s ago"
    servers = (value["target"] or {}).get("servers", [])
    rows = [
        (one["slot"], one["replica"], model["model"], model["ordinal"], model["ready"])
        for one in servers
        for model in one["models"]
    ]
    loaded = table(("slot", "replica", "model", "triton", "ready"), rows) if rows else ""
    return ["", facts((*counts, ("registry seen", seen))), "", loaded]
