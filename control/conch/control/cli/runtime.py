"""`conch runtime`: Triton and Envoy in an environment of their own."""

from __future__ import annotations

import typer

from .exits import Exit
from .printing import answer, told
from .sessions import Home, Output, session_of

app = typer.Typer(help="The serving runtime: Triton and Envoy.", no_args_is_help=True)


@app.command("install")
def install(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Install the runtime that the settings ask for; about 0.7 GB.

    An installation that was cut off is finished.
    """
    from conch import local

    from ..platform import runtime_spec

    session = session_of(context, home, output)
    runtime = local.install(spec=runtime_spec(session.settings()), progress=told)
    answer(session, {"path": str(runtime.root)}, str(runtime.root))


@app.command("check")
def check(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Check every installed file and start each program once; exits with 1 if anything is wrong."""
    from conch import local

    from ..platform import runtime_spec

    session = session_of(context, home, output)
    runtime = local.require(spec=runtime_spec(session.running()))
    findings = local.check(runtime)
    value = {"path": str(runtime.root), "findings": findings}
    answer(session, value, *(findings or [f"{runtime.root} is as it was installed."]))
    if findings:
        raise typer.Exit(Exit.FAILED)


@app.command("path")
def path(context: typer.Context, home: Home = None, output: Output = None) -> None:
    """Print the runtime's folder."""
    from conch import local

    from ..platform import runtime_spec

    session = session_of(context, home, output)
    root = str(local.require(spec=runtime_spec(session.running())).root)
    answer(session, {"path": root}, root)
