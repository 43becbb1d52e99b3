"""`conch experiment`: builds of one model compared on live traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .plan_arguments import plan_lines, read_plan
from .printing import answer, because, facts, table, told
from .progress import watching
from .sessions import Home, Output, session_of

if TYPE_CHECKING:
    from ..client import Client

app = typer.Typer(help="Compare versions without releasing one.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The registered model.")]
Which = Annotated[
    str | None, typer.Option("--experiment", help="Its id; otherwise the model's newest.")
]


@app.command("start")
def start(
    context: typer.Context,
    name: Name,
    arms: Annotated[
        list[str],
        typer.Option(
            "--arm",
            help="VERSION or BUILD, and =PERCENT or equal shares; repeatable. The control is the "
            "live version.",
        ),
    ],
    plan: Annotated[
        Path | None, typer.Option(help="A file with guardrails, goals, error levels and times.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the plan; repeatable.")
    ] = None,
    title: Annotated[str, typer.Option("--name", help="What people call it.")] = "",
    note: Annotated[str, typer.Option(help="Why; kept with the experiment.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Check and show the plan; start nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the traffic is divided.")] = True,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 300.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Load the arms beside the live version, warm and check them; then divide the traffic."""
    from ..plans import overrides

    session = session_of(context, home, output)
    asked, fields = [_arm(one) for one in arms], overrides(changes or []) or None
    body = None if plan is None else read_plan(str(plan))
    if isinstance(body, str):
        raise typer.BadParameter("a file, .yaml or .json", param_hint="--plan")
    with session.client() as client:
        if dry_run:
            shown = client.plan_experiment(name, asked, plan=body, changes=fields)
            answer(session, shown, *plan_lines(shown))
            return
        found = client.start_experiment(
            name, asked, title=title, plan=body, changes=fields, note=note
        )
        if wait:
            with watching(f"{name}: {len(asked) + 1} arms") as watch:
                found = client.wait_experiment(
                    found["id"], status="running", timeout_s=timeout, watch=watch
                )
    answer(session, found, _line(found))


@app.command("stop")
def stop(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; kept with the experiment.")] = "",
    home: Home = None,
    output: Output = None,
) -> None:
    """End the experiment; the live version answers everybody again."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.stop_experiment(name, reason=reason)
    answer(session, found, _line(found))


@app.command("list")
def list_experiments(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: Home = None,
    output: Output = None,
) -> None:
    """List experiments, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.experiments(model=model, limit=limit)
    heads = ("experiment", "model", "name", "arms", "status", "started", "why")
    rows = (
        [
            one["id"],
            one["model_name"],
            one["name"],
            _arms(one),
            one["status"],
            one["started_at"],
            because(one["outcome"]),
        ]
        for one in found
    )
    answer(session, found, table(heads, rows))


@app.command("show")
def show(
    context: typer.Context,
    name: Name,
    experiment: Which = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show a model's newest experiment: its arms, and what each shows."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.experiment(_key(client, name, experiment))
        results = client.experiment_results(found["id"])
    about = facts(
        (
            ("experiment", found["id"]),
            *((key.replace("_", " "), found[key]) for key in ("name", "status", "note")),
            ("arms", _arms(found)),
            *((key.replace("_", " "), found[key]) for key in ("started_at", "finished_at")),
            ("held", because(found["hold"])),
            ("why", because(found["outcome"])),
        )
    )
    heads = ("version", "metric", "kind", "units", "change", "from", "to", "verdict")
    rows = [
        [
            arm["version"],
            one["metric"],
            one["kind"],
            one["candidate_units"],
            *(_percent(one[key]) for key in ("estimate", "lower", "upper")),
            one["verdict"],
        ]
        for arm in results
        for one in arm["results"]
    ]
    answer(session, {**found, "results": results}, about, *([table(heads, rows)] if rows else []))


@app.command("watch")
def watch(
    context: typer.Context,
    name: Name,
    experiment: Which = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 86_400.0 * 30,
    home: Home = None,
    output: Output = None,
) -> None:
    """Follow an experiment to its end; exits with 1 where its goal was not met."""
    session = session_of(context, home, output)
    with session.client() as client:
        key = _key(client, name, experiment)
        found = client.wait_experiment(key, timeout_s=timeout, watch=_Following(client))
    answer(session, found, _line(found))
    if (found["outcome"] or {}).get("code") != "goal-met":
        raise typer.Exit(Exit.FAILED)


@app.command("decisions")
def decisions(
    context: typer.Context,
    name: Name,
    experiment: Which = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    records: Annotated[bool, typer.Option(help="With what each was decided on (JSON).")] = False,
    home: Home = None,
    output: Output = None,
) -> None:
    """List what was found in an experiment, and why, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        key = _key(client, name, experiment)
        found = client.findings(key, records=records, limit=limit)
    heads = ("n", "at", "who", "action", "why")
    rows = (
        [
            one["number"],
            one["at"],
            one["actor"] or "conch",
            one["action"],
            f"{one['code']}: {one['message']}",
        ]
        for one in found
    )
    answer(session, found, table(heads, rows))


@app.command("explain")
def explain(
    context: typer.Context,
    name: Name,
    experiment: Which = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Tell in sentences where an experiment stands, and what each arm shows."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.explain_experiment(_key(client, name, experiment))
    answer(session, found, *found["sentences"])


def _arm(text: str) -> dict[str, Any]:
    which, _, share = text.partition("=")
    try:
        percent = float(share) if share else None
    except ValueError as error:
        raise typer.BadParameter(f"{share!r} is no percentage", param_hint="--arm") from error
    arm: dict[str, Any] = {"version": int(which)} if which.isdecimal() else {"build_id": which}
    return arm if percent is None else {**arm, "share": percent}


def _key(client: Client, name: str, experiment: str | None) -> str:
    from ..client import ApiError

    if experiment is not None:
        return experiment
    newest = client.experiments(model=name, limit=1)
    if not newest:
        raise ApiError(
            f"{name!r} has never had an experiment.",
            code="no-experiment",
            hint="`conch experiment start` begins one.",
        )
    return str(newest[0]["id"])


def _arms(experiment: dict[str, Any]) -> str:
    return ", ".join(
        f"version {arm['version']} ({arm['role']}) {arm['weight']:g} %"
        for arm in experiment["arms"]
    )


def _line(experiment: dict[str, Any]) -> str:
    why = because(experiment["outcome"])
    ending = f" {why}" if why else ""
    return (
        f"{experiment['model_name']}: {experiment['name']!r} is {experiment['status']}; "
        f"{_arms(experiment)}.{ending}"
    )


def _percent(value: float | str | None) -> str:
    """Return a relative change; what JSON cannot say as a number, such as infinity, is a word."""
    return "-" if value is None or isinstance(value, str) else f"{value:+.1%}"


class _Following:
    """Prints what is found in an experiment, one line for each finding."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = -1

    def __call__(self, experiment: dict[str, Any]) -> None:
        for one in reversed(self._client.findings(experiment["id"], limit=20)):
            if one["number"] > self._seen:
                self._seen = one["number"]
                told(f"{one['at'][11:19]}  {one['action']}: {one['message']}")
