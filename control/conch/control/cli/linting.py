"""`conch lint`: anybody's KServe manifests, against the schemas and traps of a stated version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .printing import answer
from .sessions import Output, session_of


def lint(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="YAML files. NAME.new.yaml is linted as an update of NAME.old.yaml."),
    ],
    kserve_version: Annotated[str, typer.Option(help="From 0.15 to 0.21.")] = "0.20",
    mode: Annotated[str, typer.Option(help="`knative` or `standard`.")] = "knative",
    notes: Annotated[bool, typer.Option(help="Show notes too.")] = True,
    output: Output = None,
) -> None:
    """Check KServe manifests: unknown fields, webhook rules, settings that silently do nothing.

    Exits with 0 where all is clean, 1 with findings, 2 where a file cannot be used.
    """
    from conch.kserve import DeploymentMode, KServeVersion, render_lint, run

    session = session_of(context, None, output)
    version = KServeVersion.parse(kserve_version)
    if mode not in set(DeploymentMode):
        raise typer.BadParameter(f"--mode is {mode!r}: knative or standard")
    found = run(files, kserve_version=version, mode=DeploymentMode(mode))
    answer(session, found.as_dict(), render_lint(found, notes=notes).rstrip())
    raise typer.Exit(found.exit_code)
