"""Following everything that a target needs to know of a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from conch.core import TritonName

from ..applying.ownership import OWNER, OWNER_LABEL
from ..cluster.failures import ClusterError
from ..cluster.mirrors import Mirror
from ..cluster.ports import Cluster
from ..cluster.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    Key,
    Object,
    Resource,
)
from ..manifests.objects import SERVICE_LABEL
from ..profiles import Profile
from .records import RECORD_LABEL, Record, read_record, record_key
from .seeing import Seen

_OWN: Final = f"{OWNER_LABEL}={OWNER}"


class Watching:
    """Mirrors of the kinds that a profile's workloads consist of.

    Args:
        cluster: Whom to ask.
        namespace: Whose objects.
        profile: Which kinds matter.
    """

    def __init__(self, cluster: Cluster, namespace: str, profile: Profile) -> None:
        self._namespace = namespace
        wanted: list[tuple[Resource, str]] = [
            (CONFIG_MAP, f"{_OWN},{RECORD_LABEL}"),
            (INFERENCE_SERVICE, _OWN),
        ]
        if not profile.knative:
            wanted.append((DEPLOYMENT, SERVICE_LABEL))
        if not profile.one_service:
            wanted.append((HTTP_ROUTE, _OWN))
        self._mirrors = {
            resource: Mirror(cluster, resource, namespace, labels=labels)
            for resource, labels in wanted
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors.values():
                group.create_task(mirror.run())

    async def settled(self, *, timeout_s: float) -> None:
        """Wait for the first complete copies.

        Raises:
            ClusterError: The cluster could not be asked in that time; why.
        """
        for mirror in self._mirrors.values():
            if not await mirror.settled(timeout_s=timeout_s):
                raise mirror.error or ClusterError("The cluster could not be listed in time.")

    def refuse_blind(self) -> None:
        """Raise unless every copy is up to date as far as can be told.

        Raises:
            ClusterError: Why one is not.
        """
        for mirror in self._mirrors.values():
            if mirror.error is not None:
                raise mirror.error
            if not mirror.followed:
                raise ClusterError("The cluster was not listed yet.")

    def records(self) -> list[Record]:
        """Return every workload's record."""
        return [read_record(body) for body in self._mirrors[CONFIG_MAP].objects.values()]

    def record(self, model: TritonName) -> Record:
        """Return a model's record; an empty one where it has none."""
        body = self._mirrors[CONFIG_MAP].objects.get(record_key(model, self._namespace))
        return read_record(body) if body else Record(model=model, namespace=self._namespace)

    def seen(self, record: Record) -> Seen:
        """Return what the cluster shows of a workload."""
        names = {record.workload, *(f"{record.workload}-{slot}" for slot in record.slots)}
        deployments = {f"{name}-predictor" for name in names}
        route = self._named(HTTP_ROUTE, {record.workload})
        return Seen(
            services=self._named(INFERENCE_SERVICE, names),
            deployments=self._named(DEPLOYMENT, deployments),
            route=route.get(record.workload),
        )

    async def note(self, *bodies: Object) -> None:
        """Take answers to own requests in at once."""
        for body in bodies:
            for resource, mirror in self._mirrors.items():
                if (body["apiVersion"], body["kind"]) == (resource.api_version, resource.kind):
                    await mirror.note(body)

    async def until(self, there: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until something is true of the copies; tells whether it became so in time."""
        if there():
            return True
        waits = [
            asyncio.create_task(mirror.until(there, timeout_s=timeout_s))
            for mirror in self._mirrors.values()
        ]
        try:
            for first in asyncio.as_completed(waits):
                if await first:
                    return True
        finally:
            for wait in waits:
                wait.cancel()
        return there()

    def _named(self, resource: Resource, names: set[str]) -> dict[str, Object]:
        mirror = self._mirrors.get(resource)
        if mirror is None:
            return {}
        keys = {
            name: Key(
                api_version=resource.api_version,
                kind=resource.kind,
                namespace=self._namespace,
                name=name,
            )
            for name in names
        }
        return {name: mirror.objects[key] for name, key in keys.items() if key in mirror.objects}
