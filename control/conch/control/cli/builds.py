"""`conch builds`: conversions, and what their verification found."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .printing import answer, because, facts, table
from .sessions import Home, Output, session_of

app = typer.Typer(help="Conversions, and what their verification found.", no_args_is_help=True)

_OUTPUT_HEADS = ("output", "type", "values", "max abs", "max rel", "labels", "mismatches")
_OUTPUT_KEYS = ("name", "dtype", "values", "max_abs", "max_rel", "label_agreement", "mismatches")
_WORST_HEADS = ("output", "case", "row", "index", "expected", "found", "of what is allowed")
_WORST_KEYS = ("case", "row", "index", "expected", "found", "excess")


@app.command("list")
def list_builds(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: Home = None,
    output: Output = None,
) -> None:
    """List builds, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.builds(model=model, limit=limit)
    heads = ("build", "model", "version", "triton", "semantic", "status", "why")
    keys = ("id", "model_name", "version", "ordinal", "semantic_version", "status")
    rows = ([*(one[key] for key in keys), because(one["reason"])] for one in found)
    answer(session, found, table(heads, rows))


@app.command("show")
def show(
    context: typer.Context,
    build: Annotated[str, typer.Argument(help="A build's id, or a model's name.")],
    version: Annotated[int | None, typer.Argument(help="With a name: the version.")] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show a build with its verification: every output, and the rows that differ most."""
    session = session_of(context, home, output)
    with session.client() as client:
        if version is not None:
            known = client.version(build, version)
            if known["build_id"] is None:
                raise typer.BadParameter(f"version {version} of {build!r} has no build yet")
            build = known["build_id"]
        found = client.build(build)
    about = facts(
        (
            ("build", found["id"]),
            ("of", f"{found['model_name']} version {found['version']}"),
            ("semantic version", found["semantic_version"]),
            ("status", found["status"]),
            ("why", because(found["reason"])),
            ("folder", found["path"]),
            ("digest", found["digest"]),
        )
    )
    answer(session, found, about, *_report(found["report"]))


@app.command("retry")
def retry(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[int, typer.Argument(help="The registry's integer.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Build a version again that was refused, or that policy did not take up."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.retry_build(name, version)
    answer(session, found, f"{name} version {version} is queued to be built.")


def _report(report: dict[str, Any] | None) -> list[Any]:
    if not report:
        return []
    found = report["verification"]
    steps = (
        (step["name"], "taken" if step["taken"] else "not taken", step["reason"])
        for step in report["steps"]
    )
    evidence = "strong" if found["strong"] else f"weak: {'; '.join(found['weaknesses'])}"
    outputs: list[dict[str, Any]] = found["outputs"]
    shown: list[Any] = [
        "",
        table(("step", "", "why"), steps),
        "",
        facts(
            (
                ("rows compared", found["rows"]),
                ("batch sizes", found["batch_sizes"]),
                ("evidence", evidence),
                ("notes", found["notes"]),
            )
        ),
        "",
        table(_OUTPUT_HEADS, ([one[key] for key in _OUTPUT_KEYS] for one in outputs)),
    ]
    worst = [(one["name"], row) for one in outputs for row in one["worst"] if row["excess"] != "0"]
    if worst:
        rows = ([name, *(row[key] for key in _WORST_KEYS)] for name, row in worst)
        shown += ["", table(_WORST_HEADS, rows, title="The rows that differ most")]
    return shown
