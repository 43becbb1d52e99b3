"""The KServe target: what the control plane tells a cluster, and what it sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import numpy as np

from conch.core import (
    Arm,
    BuildRef,
    InvalidValueError,
    LoadedModel,
    ServerState,
    ServerStatus,
    SlotName,
    TargetState,
    TrafficSplit,
    TritonName,
)

from ..applying import Plan
from ..cluster.failures import ClusterError
from ..cluster.leases import ClusterLease
from ..cluster.ports import Cluster
from .asking import ask
from .errors import NotAnsweringError, NotLeadingError, NotScalableError
from .operating import Blueprint, Operations
from .records import Record
from .storing import Store
from .watching import Watching

_T = TypeVar("_T")
_FIRST_S: Final = 120.0
_DIVIDE_S: Final = 60.0
_UNLOAD_S: Final = 300.0
_RENEWALS: Final = 3


class KServeTarget:
    """One namespace of a cluster, behind the port that every target has.

    Each model has a workload of its own: its slots are InferenceServices, revisions or predictors,
    as the profile's strategy says. What is meant lies on the cluster (`records`); instances hold no
    state, and a call that was cut off is made again. An event loop in a thread follows the cluster
    by watches, so that looking costs no request; methods may be called from several threads.

    Args:
        connect: Makes the client, within the event loop.
        namespace: Where models are served; it has to exist.
        blueprint: The cluster's profile, and what workloads have in common.
        store: Where servers fetch builds.
        slots: Names of the slots, two or more.
        inference_url: Where callers send inference.
        gateway_url: An address through which slots are asked; empty: their own names.
        lease: Makes the lease that this process contends for; None: whoever calls leads.
        first_s: How long `start` waits for a cluster that does not answer, in seconds.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Cluster],
        namespace: str,
        blueprint: Blueprint,
        store: Store,
        slots: Sequence[SlotName] = (SlotName("a"), SlotName("b")),
        inference_url: str = "",
        gateway_url: str = "",
        lease: Callable[[Cluster], ClusterLease] | None = None,
        first_s: float = _FIRST_S,
    ) -> None:
        self._first_s = first_s
        self._connect = connect
        self._namespace = namespace
        self._blueprint = blueprint
        self._store = store
        self._slots = tuple(slots)
        self._inference_url = inference_url
        self._gateway_url = gateway_url
        self._make_lease = lease
        self._lease: ClusterLease | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kserve", daemon=True)
        self._cluster: Any = None
        self._following: list[asyncio.Task[None]] = []
        self._watching: Watching
        self._operations: Operations

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start to follow the cluster and wait for the first look.

        Raises:
            ClusterError: The cluster cannot be seen; it is followed nevertheless from then on.
        """
        self._thread.start()
        self._run(self._open())

    def close(self) -> None:
        """Stop following; what serves goes on serving."""
        if not self._thread.is_alive():
            return
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- the protocol

    def observe(self) -> TargetState:
        """Return what every slot holds, the routes in force, and where to call.

        Raises:
            ClusterError: The cluster cannot be seen, so that nothing is known to be true.
        """
        return self._run(self._observe())

    def routes(self) -> dict[TritonName, TrafficSplit]:
        """Return the splits in force, as `observe` does."""
        return dict(self.observe().routes)

    def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        """Make a slot hold a build and wait until its servers are loaded and warmed."""
        self._known(slot)
        self._run(self._operations.load(build, slot, timeout_s=timeout_s))

    def unload(self, model: TritonName, slot: SlotName) -> None:
        """Make a slot let go of a model; one that it does not hold is fine."""
        self._known(slot)
        self._run(self._operations.unload(model, slot, timeout_s=_UNLOAD_S))

    def infer(
        self,
        model: TritonName,
        slot: SlotName,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        replica: int = 0,
        timeout_s: float,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Ask a slot's servers directly, past the weights; which of them answers is not said.

        Raises:
            NotAnsweringError: The slot does not hold the model, or does not answer.
            AnswerError: It answered with an error.
        """
        host = self._run(self._host(model, slot))
        return ask(model, inputs, host=host, via=self._gateway_url, timeout_s=timeout_s)

    def quarantined(self) -> dict[str, str]:
        """Return nothing: a cluster restarts servers by itself, each model having its own."""
        return {}

    def scale(self, slot: SlotName, replicas: int) -> None:
        """Refuse: the number of servers is stated per workload and kept by the autoscaler.

        Raises:
            NotScalableError: Always.
        """
        raise NotScalableError(
            f"Slot {slot!r} is not scaled by hand on a cluster.",
            hint="Set `serve.replicas` in the profile.",
        )

    def set_routes(self, splits: Sequence[TrafficSplit]) -> None:
        """Put every split in force; returns once the cluster has acknowledged them."""
        models = [split.model for split in splits]
        if len(set(models)) != len(models):
            raise InvalidValueError(f"Two traffic splits for one model: {sorted(models)}.")
        self._run(self._divide(splits))

    # --- for whoever counts

    def arm_of(self, service: str, pod: str) -> tuple[TritonName, Arm] | None:
        """Return the model and the arm that a pod of an InferenceService serves now.

        None where it is of no slot, or has no arm in the model's split.
        """
        return self._run(self._arm_of(service, pod))

    # --- for people

    def plan(self, build: BuildRef, slot: SlotName) -> Plan:
        """Return what loading a build into a slot would change; the API server checks it all.

        Raises:
            ClusterError: The API server would refuse something of it.
        """
        self._known(slot)
        return self._run(self._operations.preview(build, slot))

    def drift(self) -> dict[TritonName, Plan]:
        """Return, by model, what differs on the cluster from what is meant to be there."""
        return self._run(self._drift())

    def slot_for(self, build: BuildRef) -> SlotName:
        """Return the slot that holds a build, else one for it: an empty one, or without traffic."""
        record = self._watching.record(build.model)
        for slot, held in sorted(record.slots.items()):
            if held.build_id == build.build_id:
                return slot
        return min(self._slots, key=lambda slot: (record.weight(slot), slot in record.slots))

    def held(self, model: TritonName) -> Record:
        """Return what a model's workload is meant to be."""
        return self._watching.record(model)

    # --- within the loop

    async def _drift(self) -> dict[TritonName, Plan]:
        records = sorted(self._watching.records(), key=lambda record: record.model)
        return {record.model: await self._operations.plan(record) for record in records}

    async def _open(self) -> None:
        self._cluster = self._connect()
        self._watching = Watching(self._cluster, self._namespace, self._blueprint.profile)
        self._lease = self._make_lease(self._cluster) if self._make_lease else None
        self._operations = Operations(
            cluster=self._cluster,
            watching=self._watching,
            blueprint=self._blueprint,
            store=self._store,
            prove=self._prove,
        )
        self._following.append(asyncio.create_task(self._watching.run()))
        if self._lease is not None:
            await self._lease.renew()
            self._following.append(asyncio.create_task(self._keep_lease(self._lease)))
        await self._watching.settled(timeout_s=self._first_s)

    async def _shut(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        if self._lease is not None:
            with contextlib.suppress(ClusterError):  # it runs out by itself
                await self._lease.release()
        close = getattr(self._cluster, "close", None)
        if close is not None:
            await close()

    async def _keep_lease(self, lease: ClusterLease) -> None:
        failing_since: float | None = None
        while True:
            await asyncio.sleep(lease.duration_s / _RENEWALS)
            try:
                await lease.renew()
                failing_since = None
            except ClusterError:
                failing_since = failing_since or lease.clock()
                if lease.clock() - failing_since >= lease.duration_s / 2:
                    lease.held = False

    def _prove(self) -> None:
        if self._lease is not None and not self._lease.held:
            raise NotLeadingError(
                f"Another control plane acts on namespace {self._namespace!r}.",
                hint=f"It holds the Lease {self._lease.name!r} there.",
            )

    async def _observe(self) -> TargetState:
        self._watching.refuse_blind()
        records = self._watching.records()
        return TargetState(
            servers=tuple(
                ServerStatus(
                    slot=slot,
                    replica=0,
                    state=ServerState.READY,
                    models=tuple(
                        self._loaded(record, slot)
                        for record in sorted(records, key=lambda record: record.model)
                        if slot in record.slots or slot in record.leaving
                    ),
                )
                for slot in self._slots
            ),
            routes={
                record.model: record.split
                for record in records
                if record.split is not None and self._operations.in_force(record)
            },
            inference_url=self._inference_url,
            gateway_ready=True,
        )

    def _loaded(self, record: Record, slot: SlotName) -> LoadedModel:
        if slot not in record.slots:
            return LoadedModel(
                model=record.model,
                ordinal=record.leaving[slot],
                ready=False,
                reason="its servers are leaving",
            )
        held, strategy = record.slots[slot], self._operations.strategy
        seen = self._watching.seen(record)
        ready = strategy.holds(record, seen, slot)
        status = seen.service(strategy.service(record, slot))
        return LoadedModel(
            model=record.model,
            ordinal=held.ordinal,
            ready=ready,
            reason="" if ready else status.failure or "its servers are not ready",
        )

    async def _host(self, model: TritonName, slot: SlotName) -> str:
        record = self._watching.record(model)
        host = ""
        if slot in record.slots:
            host = self._operations.strategy.host(record, self._watching.seen(record), slot)
        if not host:
            raise NotAnsweringError(f"Slot {slot!r} has no address for {model!r}.")
        return host

    async def _arm_of(self, service: str, pod: str) -> tuple[TritonName, Arm] | None:
        strategy = self._operations.strategy
        for record in self._watching.records():
            slot = strategy.slot_of(record, service=service, pod=pod)
            if slot is None or record.split is None:
                continue
            for arm in record.split.arms:
                if arm.slot == slot and arm.build_id == record.slots[slot].build_id:
                    return record.model, arm
        return None

    async def _divide(self, splits: Sequence[TrafficSplit]) -> None:
        for split in splits:
            record = self._watching.record(split.model)
            if record.split != split or not self._operations.in_force(record):
                await self._operations.divide(split, timeout_s=_DIVIDE_S)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _known(self, slot: SlotName) -> None:
        if slot not in self._slots:
            raise InvalidValueError(f"There is no slot {slot!r}.")
