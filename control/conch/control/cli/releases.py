"""`conch release`: moving traffic from one version to another, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .plan_arguments import plan_lines, read_plan
from .printing import answer, because, facts, table
from .progress import watching
from .sessions import Home, Output, session_of

if TYPE_CHECKING:
    from ..client import Client

app = typer.Typer(help="Move traffic between versions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The registered model.")]


@app.command("start")
def start(
    context: typer.Context,
    name: Name,
    version: Annotated[int, typer.Option(help="The registry's integer.")],
    weight: Annotated[float, typer.Option(min=0, max=100, help="Percent, once ready.")] = 0.0,
    bake_s: Annotated[
        int | None, typer.Option(min=0, help="Seconds that the loser stays loaded.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why; kept with the release.")] = "",
    plan: Annotated[
        str | None,
        typer.Option(help="canary, linear, blue-green, hot, manual, or a plan file."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the plan; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Check and show the plan; start nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the candidate is ready.")] = True,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 300.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Load a verified version beside the live one, warm and check it; then its plan takes over."""
    from ..plans import overrides

    session = session_of(context, home, output)
    asked, fields = read_plan(plan), overrides(changes or []) or None
    with session.client() as client:
        if dry_run:
            shown = client.plan_release(name, version, plan=asked, changes=fields)
            answer(session, shown, *plan_lines(shown))
            return
        found = client.start_release(
            name,
            version,
            weight=weight,
            bake_s=bake_s,
            note=note,
            plan=asked,
            changes=fields,
        )
        if wait:
            with watching(f"{name} version {version}") as watch:
                found = client.wait_release_running(name, timeout_s=timeout, watch=watch)
    answer(session, found, line_of(found))


@app.command("set-weight")
def set_weight(
    context: typer.Context,
    name: Name,
    weight: Annotated[float, typer.Argument(min=0, max=100, help="Percent of the traffic.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Give the candidate a share of the traffic."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.set_weight(name, weight)
    answer(session, found, line_of(found))


@app.command("promote")
def promote(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """Give the candidate all traffic; the former version stays loaded for the bake time."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.promote(name)
    answer(session, found, line_of(found))


@app.command("rollback")
def rollback(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; kept with the release.")] = "",
    home: Home = None,
    output: Output = None,
) -> None:
    """Give all traffic back to the version that was live before; needs no load."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.rollback(name, reason=reason)
    answer(session, found, line_of(found))


@app.command("show")
def show(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """Show a model's newest release."""
    session = session_of(context, home, output)
    with session.client() as client:
        release = newest_of(client, name)
    keys = (
        *("status", "weight", "plan", "bake_s", "note"),
        *("created_by", "created_at", "finished_at"),
    )
    about = facts(
        (
            ("release", release["id"]),
            ("candidate", f"version {release['candidate_version']}"),
            ("baseline", f"version {release['baseline_version']}"),
            *((key.replace("_", " "), release[key]) for key in keys),
            ("doing", release["job"] and release["job"]["message"]),
            ("held", because(release["hold"])),
            ("why", because(release["reason"])),
        )
    )
    answer(session, release, about)


@app.command("list")
def list_releases(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: Home = None,
    output: Output = None,
) -> None:
    """List releases, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.releases(model=model, limit=limit)
    heads = ("release", "model", "candidate", "baseline", "status", "percent", "started", "why")
    keys = (
        *("id", "model_name", "candidate_version", "baseline_version"),
        *("status", "weight", "created_at"),
    )
    rows = ([*(one[key] for key in keys), because(one["reason"])] for one in found)
    answer(session, found, table(heads, rows))


def newest_of(client: Client, name: str) -> dict[str, Any]:
    """Return a model's newest release.

    Raises:
        ApiError: It was never released.
    """
    from ..client import ApiError

    found = client.releases(model=name, limit=1)
    if not found:
        raise ApiError(
            f"{name!r} has never been released.",
            code="no-release",
            hint="`conch release start` begins one; a model's first version needs none.",
        )
    return found[0]


def line_of(release: dict[str, Any]) -> str:
    candidate, baseline = release["candidate_version"], release["baseline_version"]
    how = "" if release["plan"] is None else f" by the plan {release['plan']!r}"
    return (
        f"{release['model_name']}: release of version {candidate} over version {baseline}{how} is "
        f"{release['status']}; the candidate has {release['weight']:g} % of the traffic."
    )
