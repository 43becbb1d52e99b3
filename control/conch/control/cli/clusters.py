"""Commands for a cluster with KServe: render, deploy, diff, probe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .printing import answer, table, told
from .sessions import Home, Output, Session, session_of

if TYPE_CHECKING:
    from conch.core import BuildRef
    from conch.kserve import Site
    from conch.kserve.serving.target import KServeTarget

app = typer.Typer(help="A cluster with KServe.", no_args_is_help=True)


class Where(StrEnum):
    """What a command writes for."""

    KSERVE = "kserve"


Target = Annotated[Where, typer.Option("--target", help="Where to serve.")]
Profile = Annotated[
    Path, typer.Option("--profile", help="The file that states the cluster.", dir_okay=False)
]
Name = Annotated[str, typer.Argument(help="The registered model.")]
Version = Annotated[
    int | None, typer.Option(help="The registry's integer.  [default: live, else newest]")
]
Folder = Annotated[
    Path | None, typer.Option("--build", help="A build folder; no platform is asked.")
]
Namespace = Annotated[str | None, typer.Option(help="In place of the profile's.")]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="Says where the cluster is.  [default: $KUBECONFIG]")
]
Context = Annotated[str | None, typer.Option("--context", help="Of the kubeconfig file.")]


def render(
    context: typer.Context,
    name: Name,
    profile: Profile,
    target: Target = Where.KSERVE,
    version: Version = None,
    build: Folder = None,
    namespace: Namespace = None,
    to: Annotated[
        Path | None, typer.Option(help="Write files and a kustomization into this folder.")
    ] = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Write the objects that serve a model's verified build; asks no cluster.

    The same build and profile give the same bytes. Without --to they go to standard output.
    """
    from conch.kserve import ServedModel, Slot, Workload, object_name
    from conch.kserve import render as rendered
    from conch.kserve.manifests.folders import write_folder
    from conch.kserve.serving.storing import store_of

    from ..clusters import site_of

    session = session_of(context, home, output)
    site = site_of(profile, namespace=namespace)
    found = _build(session, name, version, build)
    served = ServedModel(
        model=found.model,
        ordinal=found.ordinal,
        build_id=found.build_id,
        digest=found.digest,
    )
    slot = Slot(slot=_SLOTS[0], models=(served,), storage_uri=store_of(site).address(found))
    workload = Workload(
        name=object_name(found.model),
        namespace=site.namespace,
        slots=(slot,),
        resources=site.resources,
        scaling=site.scaling,
    )
    files = rendered(site.profile, workload)
    if to is None:
        stream = "---\n".join(text for file, text in files.items() if file != "kustomization.yaml")
        answer(session, {"files": dict(files)}, stream.rstrip("\n"))
        return
    removed = write_folder(to, files)
    text = f"{len(files)} files are in {to}." + (f" Removed: {', '.join(removed)}." * bool(removed))
    answer(session, {"folder": str(to), "files": sorted(files), "removed": removed}, text)


def deploy(
    context: typer.Context,
    name: Name,
    profile: Profile,
    target: Target = Where.KSERVE,
    version: Version = None,
    build: Folder = None,
    percent: Annotated[
        float | None,
        typer.Option(help="Its share of the traffic.  [default: all, if nothing else serves]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The API server checks it all; nothing is done.")
    ] = False,
    skip_preflight: Annotated[
        bool, typer.Option("--skip-preflight", help="Do not ask its servers the golden rows.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over fields of others.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait for its servers, in s.")] = 1200.0,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Serve a model's verified build on a cluster, beside what serves there now.

    Given again with --percent it moves traffic; with a former --version it moves it back.
    """
    from ..clusters import site_of
    from ..shipping import ship

    session = session_of(context, home, output)
    site = site_of(profile, namespace=namespace)
    found = _build(session, name, version, build)
    with _target(site, kubeconfig, kube_context, force=force, act=not dry_run) as cluster:
        slot = cluster.slot_for(found)
        plan = cluster.plan(found, slot)
        if dry_run:
            value = {"dry_run": True, "slot": slot, "plan": plan.as_dict()}
            answer(session, value, f"Into slot {slot}; nothing was done:", plan.render())
            return
        told(plan.render())
        shipped = ship(
            cluster,
            found,
            percent=percent,
            prove=not skip_preflight,
            timeout_s=timeout,
            told=lambda line: told(f"{name}: {line}"),
        )
    rows = [(each, f"{share:g} %") for each, share in shipped.shares.items()]
    text = f"{found.model} version directory {found.ordinal} is ready in slot {slot}."
    value = {**shipped.as_dict(), "namespace": site.namespace, "plan": plan.as_dict()}
    answer(session, value, text, table(("build", "share"), rows) if rows else "It has no traffic.")


def diff(
    context: typer.Context,
    profile: Profile,
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show where a cluster differs from what conch means to be there.

    Exits with 0 where nothing differs, with 1 where something does.
    """
    from ..clusters import site_of

    session = session_of(context, home, output)
    site = site_of(profile, namespace=namespace)
    with _target(site, kubeconfig, kube_context, act=False) as cluster:
        plans = cluster.drift()
    if name is not None:
        from conch.core import NotFoundError, TritonName

        if TritonName(name) not in plans:
            raise NotFoundError(
                f"{name!r} is not served in namespace {site.namespace!r}.",
                hint="`conch diff --profile FILE` without a name shows all that are.",
            )
        plans = {TritonName(name): plans[TritonName(name)]}
    shown = [f"{model}:\n{plan.render()}" for model, plan in plans.items()]
    answer(
        session,
        {model: plan.as_dict() for model, plan in plans.items()},
        "\n".join(shown) or f"conch serves nothing in namespace {site.namespace!r}.",
    )
    if not all(plan.empty for plan in plans.values()):
        raise typer.Exit(Exit.FAILED)


@app.command("probe")
def probe(
    context: typer.Context,
    namespace: Annotated[
        str, typer.Option(help="Whether every kind can be listed here.")
    ] = "default",
    kserve_namespace: Annotated[str, typer.Option(help="Where KServe's controller runs.")] = (
        "kserve"
    ),
    kubeconfig: Kubeconfig = None,
    kube_context: Context = None,
    home: Home = None,
    output: Output = None,
) -> None:
    """Show what a cluster says of itself, for the profile that states it; changes nothing."""
    import asyncio

    from conch.kserve.cluster import Connection, KubernetesCluster
    from conch.kserve.probing import Finding, missing_kinds
    from conch.kserve.probing import probe as probed

    async def ask() -> list[Finding]:
        connection = Connection(kubeconfig=kubeconfig, context=kube_context)
        async with KubernetesCluster(connection) as cluster:
            found = await probed(cluster, namespace=kserve_namespace)
            return [*found, *await missing_kinds(cluster, namespace)]

    session = session_of(context, home, output)
    found = asyncio.run(ask())
    rows = [(each.name, each.value, each.source) for each in found]
    answer(session, [each.as_dict() for each in found], table(("what", "is", "seen in"), rows))


_SLOTS: Any = ("a", "b")
_FIRST_S = 15.0
"""A person waits less for a cluster that does not answer than a control plane does."""


def _build(session: Session, name: str, version: int | None, folder: Path | None) -> BuildRef:
    from ..shipping import find_build, read_build

    if folder is not None:
        found = read_build(folder.absolute())
        if name != found.model:
            raise typer.BadParameter(f"{folder} is a build of {found.model!r}, not of {name!r}")
        return found
    with session.client() as client:
        return find_build(client, name, version)


def _target(
    site: Site, kubeconfig: Path | None, context: str | None, *, act: bool, force: bool = False
) -> KServeTarget:
    """Return the cluster; to act on it takes the lease of its namespace."""
    from conch.kserve.cluster import Connection

    from ..clusters import target_of

    connection = Connection(kubeconfig=kubeconfig, context=context)
    return target_of(site, connection, leads=act, force=force, first_s=_FIRST_S)
