"""`conch models`: what is registered, and how far each version has come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .differences import shown_diff
from .printing import answer, because, facts, table
from .progress import watching
from .sessions import Home, Output, session_of

app = typer.Typer(help="Registered models and their versions.")

Name = Annotated[str, typer.Argument(help="The registered model.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="key=value; repeat.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="name>=number; repeat.")]

_VERSION_HEADS = ("version", "semantic", "status", "live", "slot", "triton", "aliases", "why")


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Registered models and their versions; alone, the same as `list`."""
    if context.invoked_subcommand is None:
        list_models(context)


@app.command("list")
def list_models(
    context: typer.Context,
    tag: Tags = None,
    metric: Metrics = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """List the models; with filters, those of which one version passes all of them."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.models(tags=tag or (), metrics=metric or ())
    heads = ("name", "versions", "latest", "live", "semantic", "status")
    keys = ("name", "versions", "latest_version", "live_version", "live_semantic_version", "status")
    answer(session, found, table(heads, ([one[key] for key in keys] for one in found)))


@app.command("show")
def show(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """Show a model, its versions, and how its traffic is divided."""
    session = session_of(context, home, output)
    with session.client() as client:
        model = client.model(name)
        versions = client.versions(name)
        deployment = client.deployment(name) if model["status"] else None
    arms = deployment["arms"] if deployment else []
    about = facts(
        (
            ("model", model["name"]),
            ("on the wire", model["triton_name"]),
            ("tags", model["tags"]),
            ("status", model["status"]),
            ("endpoint", model["endpoint_url"]),
        )
    )
    value = {**model, "version_list": versions, "deployment": deployment}
    answer(session, value, about, "", _versions(versions), "", _arms(arms))


@app.command("versions")
def versions(context: typer.Context, name: Name, home: Home = None, output: Output = None) -> None:
    """List a model's versions, the newest first."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.versions(name)
    answer(session, found, _versions(found))


@app.command("diff")
def diff(
    context: typer.Context,
    name: Name,
    old: Annotated[int, typer.Argument(help="The registry's integer of one version.")],
    new: Annotated[int, typer.Argument(help="Of the other.")],
    home: Home = None,
    output: Output = None,
) -> None:
    """Show two versions side by side, and the semantic version that follows."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.diff(name, old, new)
    answer(session, found, *shown_diff(found))


@app.command("wait")
def wait(
    context: typer.Context,
    name: Name,
    version: Annotated[
        int | None, typer.Option(help="Until this one is verified; without: until one answers.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 600.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Wait until a model answers, or until one of its versions is verified."""
    session = session_of(context, home, output)
    with session.client() as client, watching(name) as watch:
        if version is None:
            client.wait_live(name, timeout_s=timeout, watch=watch)
            found = client.model(name)
            text = f"{name} answers with version {found['live_version']}."
        else:
            found = client.wait_verified(name, version, timeout_s=timeout, watch=watch)
            text = f"{name} version {version} is verified."
    answer(session, found, text)


@app.command("register")
def register(
    context: typer.Context,
    name: Name,
    path: Annotated[
        Path,
        typer.Argument(
            help="An MLflow model folder, a SavedModel folder, or a model file (.onnx, .pt2, .pt, "
            ".keras, .ubj, LightGBM text)."
        ),
    ],
    framework: Annotated[str | None, typer.Option(help="MLflow's flavour, to insist.")] = None,
    tag: Tags = None,
    example: Annotated[
        Path | None, typer.Option(help="Input rows: .npy, or .npz by input name.")
    ] = None,
    description: Annotated[str, typer.Option(help="Shown by MLflow.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until it is verified.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 600.0,
    home: Home = None,
    output: Output = None,
) -> None:
    """Register a model file of this machine in MLflow as the next version of a name."""
    session = session_of(context, home, output)
    with session.client() as client:
        found = client.register(
            name,
            path,
            framework=framework,
            tags=dict(_pair(text) for text in tag or ()),
            description=description,
            example=example,
        )
        if wait:
            with watching(f"{name} version {found['version']}") as watch:
                found = client.wait_verified(name, found["version"], timeout_s=timeout, watch=watch)
    answer(session, found, f"{found['name']} version {found['version']} is registered.")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise typer.BadParameter(f"{text!r} is not key=value")
    return key, value


def _versions(found: list[dict[str, Any]]) -> Any:
    keys = ("version", "semantic_version", "status", "live", "slot", "ordinal", "aliases")
    rows = ([*(one[key] for key in keys), because(one["reason"])] for one in found)
    return table(_VERSION_HEADS, rows)


def _arms(arms: list[dict[str, Any]]) -> Any:
    rows = (
        (
            one["version"],
            one["slot"],
            one["ordinal"],
            f"{one['weight']:g} %",
            "yes" if one["baked"] else "on trial",
        )
        for one in arms
    )
    return table(("traffic to version", "slot", "triton", "share", "baked"), rows) if arms else ""
