"""The command line: parse, call the API or the platform, print; errors are caught here, once.

Nothing slow is imported before a command needs it, so that `conch --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import (
    builds,
    clusters,
    events,
    experiments,
    jobs,
    metrics,
    mlflow,
    models,
    planned,
    platform,
    releases,
    runtime,
)
from .doctor import doctor
from .exits import Exit, exit_of
from .linting import lint
from .logs import logs
from .predicting import predict
from .printing import failed
from .sessions import Home, Output, Session
from .shadowing import shadow

__all__ = ["Exit", "app", "main"]


class _Commands(TyperGroup):
    """The root of all commands: turns an expected error into words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from conch.core import ConchError  # slow, and needed only now

            if not isinstance(error, ConchError):
                raise
            session = ctx.obj if isinstance(ctx.obj, Session) else Session(None, None)
            failed(session, error)
            raise typer.Exit(exit_of(error)) from error


app = typer.Typer(
    name="conch",
    cls=_Commands,
    help="The control plane between MLflow and NVIDIA Triton.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 usage, 3 nothing runs, 4 waited too long.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(platform.up)
app.command()(platform.down)
app.command()(platform.status)
app.command()(platform.demo)
app.command()(platform.sweep)
app.command()(platform.scale)
app.command()(builds.build)
app.command()(predict)
app.command()(logs)
app.command()(lint)
app.command()(clusters.render)
app.command()(clusters.deploy)
app.command()(clusters.diff)
app.command()(doctor)
planned.add_to(releases.app)
for name, group in {
    "models": models.app,
    "builds": builds.app,
    "release": releases.app,
    "experiment": experiments.app,
    "jobs": jobs.app,
    "events": events.app,
    "metrics": metrics.app,
    "mlflow": mlflow.app,
    "runtime": runtime.app,
    "cluster": clusters.app,
}.items():
    app.add_typer(group, name=name)

releases.app.command("shadow")(shadow)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("conch"))
        raise typer.Exit(Exit.OK)


@app.callback()
def conch(
    context: typer.Context,
    home: Home = None,
    output: Output = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """The control plane between MLflow and NVIDIA Triton."""
    context.obj = Session(home, output)


def main() -> None:
    """Run the command line."""
    app()
