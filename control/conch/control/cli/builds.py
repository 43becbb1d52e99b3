"""`conch builds`: conversions, and what their verification found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .printing import answer, because, facts, table, told
from .sessions import Home, Output, session_of

if TYPE_CHECKING:
    from ..client import Client

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
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the verification report there as a page.")
    ] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show a build with its verification: every output, and the rows that differ most."""
    session = session_of(context, home, output)
    with session.client() as client:
        build = _build_id(client, build, version)
        found = client.build(build)
        if html is not None:
            html.write_text(client.report_page(build), encoding="utf-8")
            told(f"The report is in {html}.")
    about = facts(
        (
            ("build", found["id"]),
            ("of", f"{found['model_name']} version {found['version']}"),
            ("semantic version", found["semantic_version"]),
            ("status", found["status"]),
            ("why", because(found["reason"])),
            ("form", found["manifest"].get("variant")),
            ("folder", found["path"]),
            ("digest", found["digest"]),
        )
    )
    answer(session, found, about, *_variants(found["manifest"]), *_report(found["report"]))


@app.command("report")
def report(
    context: typer.Context,
    build: Annotated[str, typer.Argument(help="A build's id, or a model's name.")],
    version: Annotated[int | None, typer.Argument(help="With a name: the version.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it there as a page instead.")
    ] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show the verification report of a build, also of one that was refused."""
    session = session_of(context, home, output)
    with session.client() as client:
        key = _build_id(client, build, version)
        found = client.report(key)
        page = None if html is None else client.report_page(key)
    if html is not None and page is not None:
        html.write_text(page, encoding="utf-8")
        answer(session, {"path": str(html)}, f"The report is in {html}.")
        return
    answer(session, found, *_report(found))


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


def _build_id(client: Client, build: str, version: int | None) -> str:
    """The id of a build that is named by itself, or by its model and version."""
    if version is None:
        return build
    known = client.version(build, version)
    if known["build_id"] is not None:
        return str(known["build_id"])
    newest = [one for one in client.builds(model=build) if one["version"] == version]
    if not newest:
        raise typer.BadParameter(f"version {version} of {build!r} has no build yet")
    return str(newest[0]["id"])


def build(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[int, typer.Argument(help="The registry's integer.")],
    pin: Annotated[
        str | None,
        typer.Option(
            help="Build it in this form from now on: FORMAT[:PRECISION], such as onnx or "
            "openvino:int8; 'any' leaves it to measurement again."
        ),
    ] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Build a version again: after a refusal, or in a form that you insist on.

    The build gets a Triton version of its own. What serves goes on serving; release the new build
    with `conch release start`.
    """
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.retry_build(name, version, pin=pin)
    form = "" if pin is None else f" as {pin}"
    answer(session, found, f"{name} version {version} is queued to be built{form}.")


def _variants(manifest: dict[str, Any]) -> list[Any]:
    """How fast each proven variant is; nothing for builds from before there were any."""
    found: list[dict[str, Any]] = manifest.get("variants", [])
    if not found:
        return []
    sizes = list(found[0]["times_us"])
    heads = ("variant", *(f"{size} rows, us" for size in sizes), "times as fast", "")
    rows = (
        (
            one["name"],
            *(one["times_us"][size] for size in sizes),
            f"{one['speedup']:.2f}",
            "serves" if one["serves"] else "",
        )
        for one in found
    )
    title = f"Times as fast as {found[0]['name']}: the median on the machine that built"
    return ["", table(heads, rows, title=title)]


def _report(report: dict[str, Any] | None) -> list[Any]:
    if not report:
        return []
    found = report["verification"]
    steps = (
        (step["name"], "taken" if step["taken"] else "not taken", step["reason"])
        for step in report.get("steps") or ()
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
    shown += [f"{one['name']} {why}." for one in outputs for why in one.get("failures") or ()]
    worst = [(one["name"], row) for one in outputs for row in one["worst"] if row["excess"] != "0"]
    if worst:
        rows = ([name, *(row[key] for key in _WORST_KEYS)] for name, row in worst)
        shown += ["", table(_WORST_HEADS, rows, title="The rows that differ most")]
    return shown
