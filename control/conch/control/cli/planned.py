"""`conch release` for releases that decide by themselves: steer, watch, explain, try out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .plan_arguments import read_plan
from .printing import answer, because, table, told
from .releases import line_of, newest_of
from .sessions import Home, Output, session_of

if TYPE_CHECKING:
    from ..client import Client

Name = Annotated[str, typer.Argument(help="The registered model.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the release.")]
Which = Annotated[str | None, typer.Option("--release", help="Another one than the newest.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `conch release`."""
    for command in (pause, resume, approve, abort, watch, decisions, explain, replay, simulate):
        app.command()(command)
    app.command("plans")(plans)


def pause(
    context: typer.Context,
    name: Name,
    reason: Reason = "",
    home: Home = None,
    output: Output = None,
) -> None:
    """Keep a planned release where it is; proven harm still rolls it back."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.pause(name, reason=reason)
    answer(session, found, f"{line_of(found)} It is paused.")


def resume(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """Let a paused release go on by its plan."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.resume(name)
    answer(session, found, line_of(found))


def approve(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """Let a release pass the gate at which it waits for a person."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.approve(name)
    answer(session, found, line_of(found))


def abort(
    context: typer.Context,
    name: Name,
    reason: Reason = "",
    home: Home = None,
    output: Output = None,
) -> None:
    """End the open release; whatever traffic it had goes back to the version before."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.abort(name, reason=reason)
    answer(session, found, line_of(found))


def watch(
    context: typer.Context,
    name: Name,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 86_400.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Follow the newest release to its end; exits with 1 where it was not promoted."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.wait_release_ended(name, timeout_s=timeout, watch=_Following(client))
    answer(session, found, line_of(found))
    if found["status"] != "promoted":
        raise typer.Exit(Exit.FAILED)


def decisions(
    context: typer.Context,
    name: Name,
    release: Which = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    records: Annotated[bool, typer.Option(help="With what each was decided on (JSON).")] = False,
    home: Home = None,
    output: Output = None,
) -> None:
    """List what was decided about a release, and why, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.decisions(_release(client, name, release), records=records, limit=limit)
    heads = ("n", "at", "who", "action", "percent", "why")
    rows = (
        [
            one["number"],
            one["at"],
            one["actor"] or "conch",
            one["action"],
            one["weight"],
            f"{one['code']}: {one['message']}",
        ]
        for one in found
    )
    answer(session, found, table(heads, rows))


def explain(
    context: typer.Context,
    name: Name,
    release: Which = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it into this file: .png, .svg or .pdf.")
    ] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Tell in sentences where a release stands, what each metric shows, and what comes next."""
    session = session_of(context, home, output)
    with session.client() as client:
        key = _release(client, name, release)
        found = client.explain(key)
        if plot is not None:
            from ..releasing.plotting import draw

            looks = client.decisions(key, records=True, limit=1000)
            draw(client.release(key), looks[::-1], plot)
            told(f"drawn into {plot}")
    answer(session, found, *found["sentences"])


def replay(
    context: typer.Context,
    name: Name,
    release: Which = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Take every recorded decision again, here; exits with 1 where one comes out differently."""
    from conch.ab import DecisionRecord, from_json

    from ..releasing import differing

    session = session_of(context, home, output)
    with session.client() as client:
        looks = client.decisions(_release(client, name, release), records=True, limit=1000)
    records = [
        (int(one["number"]), from_json(DecisionRecord, one["record"]))
        for one in looks
        if one["record"] is not None
    ]
    wrong = differing(records)
    found = {"replayed": len(records), "differing": list(wrong)}
    words = "every one came out the same, bit for bit" if not wrong else f"{len(wrong)} differ"
    answer(session, found, f"{len(records)} decisions taken again: {words}.")
    if wrong:
        raise typer.Exit(Exit.FAILED)


def simulate(
    context: typer.Context,
    name: Name,
    plan: Annotated[str, typer.Option(help="canary, linear, blue-green, hot, or a plan file.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the plan; repeatable.")
    ] = None,
    release: Which = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show what another plan would have decided on what was recorded of a release."""
    from ..plans import overrides

    session = session_of(context, home, output)
    asked, fields = read_plan(plan), overrides(changes or []) or None
    assert asked is not None
    with session.client() as client:
        found = client.simulate(_release(client, name, release), asked, changes=fields)
    heads = ("candidate units", "then", "this plan", "why")
    rows = [
        [look["candidate_units"], look["recorded"], look["action"], look["message"]]
        for look in found["looks"]
    ]
    last = f"The plan's end on these data: {found['outcome']}."
    unknown = f"Not recorded, so not judged: {', '.join(found['unknown'])}."
    answer(session, found, table(heads, rows), last, *([unknown] if found["unknown"] else []))


def plans(
    context: typer.Context,
    preset: Annotated[str | None, typer.Argument(help="Show this one as a plan file.")] = None,
    model: Annotated[str | None, typer.Option(help="With what this model's tags say.")] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """List the plans that conch brings along, or show one as a file to start from."""
    import yaml

    from ..client import ApiError

    session = session_of(context, home, output)
    with session.client() as client:
        found = client.plans(model=model)
    if preset is None:
        rows = (
            [one["name"], _steps(one["body"]), list(one["body"]["guardrails"])] for one in found
        )
        answer(session, found, table(("plan", "steps", "guardrails"), rows))
        return
    body = next((one["body"] for one in found if one["name"] == preset), None)
    if body is None:
        raise ApiError(f"There is no preset {preset!r}.", code="plan-invalid")
    answer(session, body, yaml.safe_dump(body, sort_keys=False).rstrip())


def _steps(body: dict[str, Any]) -> str:
    return "all at once" if body.get("flip") else ", ".join(str(one) for one in body["steps"])


def _release(client: Client, name: str, release: str | None) -> str:
    return str(newest_of(client, name)["id"]) if release is None else release


class _Following:
    """Prints what changes in a release, one line for each new decision."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = -1
        self._last = ""

    def __call__(self, release: dict[str, Any]) -> None:
        for one in reversed(self._client.decisions(release["id"], limit=20)):
            if one["number"] > self._seen:
                self._seen = one["number"]
                told(f"{one['at'][11:19]}  {one['weight']:5g} %  {one['action']}: {one['message']}")
        state = f"{release['status']} {because(release['hold'])}"
        if sys.stderr.isatty() and state != self._last:
            told(f"          {release['weight']:5g} %  {state}")
        self._last = state
