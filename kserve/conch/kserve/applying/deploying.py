"""Observing what a workload has on the cluster, and carrying a plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..cluster.failures import KindMissingError, ObjectMissingError
from ..cluster.ports import Cluster
from ..cluster.resources import (
    INFERENCE_SERVICE,
    OWNED,
    SERVING_RUNTIME,
    Key,
    Object,
)
from ..errors import KServeError
from .ownership import OWNER, OWNER_LABEL, PART_LABEL
from .planning import Plan, unused_runtimes


class ForeignObjectError(KServeError):
    """An object that conch would create exists already and is somebody else's."""

    code = "cluster-object-foreign"


async def observe(
    cluster: Cluster, *, workload: str, namespace: str, intended: Sequence[Object]
) -> dict[Key, Object]:
    """Return the objects of the intended names and whatever else is a workload's.

    Raises:
        ClusterError: The cluster cannot be asked, or has no such kind that is intended.
    """
    found: dict[Key, Object] = {}
    mine = f"{OWNER_LABEL}={OWNER},{PART_LABEL}={workload}"
    for resource in OWNED:
        if resource.namespaced and resource is not SERVING_RUNTIME:
            try:
                listing = await cluster.list(resource, namespace, labels=mine)
            except KindMissingError:
                continue  # nothing of a kind that the cluster does not have can be in its place
            found |= {Key.of(item): item for item in listing.items}
    for body in await _idle_runtimes(cluster, namespace, workload, intended):
        found[Key.of(body)] = body
    for key in (Key.of(body) for body in intended):
        if key not in found:
            try:
                found[key] = await cluster.get(key)
            except ObjectMissingError:
                continue
    return found


async def carry_out(
    cluster: Cluster, plan: Plan, *, force: bool = False, dry_run: bool = False
) -> tuple[Object, ...]:
    """Apply a plan: everything is tried without effect first, so that a refusal changes nothing.

    What is written carries conch's labels from its first moment on: a run that is cut off leaves
    nothing that the next one would not find, finish or remove.

    Returns:
        The written objects as they are now.

    Raises:
        ForeignObjectError: An object of that name is somebody else's.
        ClusterError: The API server refused something, or cannot be asked.
    """
    if plan.foreign:
        names = ", ".join(str(each.key) for each in plan.foreign)
        raise ForeignObjectError(
            f"{names} exists and is not conch's.",
            hint="Rename one of the two, or have conch take it over with --adopt.",
            objects=[str(each.key) for each in plan.foreign],
        )
    tried = [await cluster.apply(write.body, force=force, dry_run=True) for write in plan.writes]
    for removal in plan.removals:
        await cluster.delete(removal.key, uid=removal.uid, dry_run=True)
    if dry_run:
        return tuple(tried)
    written = [await cluster.apply(write.body, force=force) for write in plan.writes]
    for removal in plan.removals:
        await cluster.delete(removal.key, uid=removal.uid)
    return tuple(written)


async def _idle_runtimes(
    cluster: Cluster, namespace: str, workload: str, intended: Sequence[Object]
) -> list[Object]:
    """Return conch's runtimes that nothing in the namespace uses, or will use, any more.

    Runtimes are shared by workloads and named by their content; this workload's own services count
    with what they are about to be.
    """
    runtimes = await cluster.list(SERVING_RUNTIME, namespace, labels=f"{OWNER_LABEL}={OWNER}")
    services = await cluster.list(INFERENCE_SERVICE, namespace)
    others = [item for item in services.items if not _of(item, workload)]
    soon = [body for body in intended if body["kind"] == INFERENCE_SERVICE.kind]
    return list(unused_runtimes(runtimes.items, [*others, *soon]))


def _of(body: Mapping[str, object], workload: str) -> bool:
    meta = body["metadata"]
    assert isinstance(meta, dict)
    return bool((meta.get("labels") or {}).get(PART_LABEL) == workload)
