"""The KServe target put together from a profile's file, for whoever acts on a cluster."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from conch.core import InvalidValueError, SlotName
from conch.core import Profile as Device
from conch.kserve import GpuProduct, Site, Traffic, read_site
from conch.kserve.cluster import Cluster, ClusterLease, Connection, KubernetesCluster
from conch.kserve.serving.operating import Blueprint
from conch.kserve.serving.storing import store_of
from conch.kserve.serving.target import KServeTarget

from .cluster_building import JobWorkshop
from .payloads import PayloadSource

_DIVIDED_BY: Final = {
    Traffic.PERCENT: "Knative's canaryTrafficPercent",
    Traffic.CANARY: "KServe's spec.canary",
    Traffic.SLOTS: "the weights of an HTTPRoute",
}


class ProfileUnreadableError(InvalidValueError):
    """A profile's file cannot be read."""

    code = "profile-unreadable"


def site_of(path: Path, *, namespace: str | None = None) -> Site:
    """Read the site that a file states; a relative folder is taken from where the file lies.

    Args:
        path: The file.
        namespace: In place of the one that the file states.

    Raises:
        ProfileUnreadableError: There is no such file, or it is no text.
        KServeError: As in `read_site`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileUnreadableError(
            f"The profile {str(path)!r} cannot be read: {error}.",
            hint="docs/how-to/serve-on-kserve.md shows one.",
        ) from error
    site = read_site(text)
    if site.folder is not None and not site.folder.is_absolute():
        site = replace(site, folder=(path.parent / site.folder).absolute())
    return site if namespace is None else replace(site, namespace=namespace)


def target_of(
    site: Site,
    connection: Connection,
    *,
    leads: bool,
    force: bool = False,
    slots: Sequence[str] = ("a", "b"),
    first_s: float = 120.0,
) -> KServeTarget:
    """Return a site's target, not started.

    Args:
        site: The cluster and what models there get.
        connection: How to reach it.
        leads: Whether it contends for the namespace's lease, without which it writes nothing.
        force: Whether fields that others set are taken over.
        slots: Names of the slots.
        first_s: How long its start waits for a cluster that does not answer, in seconds.
    """

    def contend(cluster: Cluster) -> ClusterLease:
        return ClusterLease(
            cluster=cluster,
            namespace=site.namespace,
            name="conch",
            holder=f"{socket.gethostname()}-{os.getpid()}",
            clock=time.monotonic,
        )

    return KServeTarget(
        connect=partial(KubernetesCluster, connection),
        namespace=site.namespace,
        blueprint=Blueprint(
            profile=site.profile, resources=site.resources, scaling=site.scaling, force=force
        ),
        store=store_of(site),
        slots=tuple(SlotName(slot) for slot in slots),
        inference_url=site.gateway_url,
        gateway_url=site.gateway_url,
        lease=contend if leads else None,
        first_s=first_s,
    )


def payload_source(site: Site, target: KServeTarget) -> PayloadSource | None:
    """Return a site as the source of payload events; None where its profile states none."""
    payloads = site.profile.payloads
    if payloads is None:
        return None
    return PayloadSource(
        token=payloads.token,
        routes=target.routes,
        arm_of=target.arm_of,
        answer_s=payloads.answer_s,
        counted="KServe's payload events; each request is a unit of its own, divided at random by "
        + _DIVIDED_BY[site.profile.strategy],
    )


def workshop_of(site: Site, connection: Connection, folder: Path) -> JobWorkshop | None:
    """Return where a site has builds run; None: with the control plane.

    Args:
        site: The cluster.
        connection: How to reach it.
        folder: The control plane's builds, which its profile says to be on a claim.
    """
    if site.builds is None:
        return None
    gpu = site.profile.gpu(site.builds.resources.gpu_product)
    return JobWorkshop(
        connect=partial(KubernetesCluster, connection),
        builds=site.builds,
        folder=folder,
        gpu_resource=(gpu or GpuProduct(name="")).resource,
        node_labels=() if gpu is None else ((gpu.node_label, gpu.name),),
        device=Device.GPU if site.builds.resources.gpus and site.resources.gpus else Device.CPU,
    )
