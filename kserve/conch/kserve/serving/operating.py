"""Loading, unloading and dividing traffic on a cluster, each a way from record to record.

Every operation writes down what it means first, makes the cluster hold what follows, waits until
that is so, and writes down that it is. Cut off anywhere and called again, it goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from conch.core import BuildRef, ServingSpec, SlotName, TrafficSplit, TritonName

from .. import applying
from ..applying.planning import decide
from ..cluster.failures import ObjectChangedError
from ..cluster.ports import Cluster
from ..cluster.resources import HTTP_ROUTE, INFERENCE_SERVICE, Key, Object
from ..manifests import manifests
from ..profiles import Profile, Traffic
from ..traffic.canaries import CanaryTraffic, stable_for
from ..traffic.knative import KnativeTraffic
from ..traffic.ports import Strategy
from ..traffic.slots import SlotTraffic
from ..workloads import Resources, Scaling
from .errors import (
    LoadPendingError,
    NotLoadedError,
    SlotInUseError,
    WeightsHeldBackError,
    WeightsPendingError,
)
from .records import Held, Record
from .seeing import Progress, State
from .storing import Store
from .watching import Watching

_TRIES: Final = 20
_STRATEGIES: Final[Mapping[Traffic, Callable[[], Strategy]]] = {
    Traffic.PERCENT: KnativeTraffic,
    Traffic.CANARY: CanaryTraffic,
    Traffic.SLOTS: SlotTraffic,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What workloads of a target have in common.

    Attributes:
        profile: The cluster.
        resources: What one server asks for.
        scaling: How many servers a slot has.
        serving: How builds want to be served, as far as manifests depend on it.
        force: Whether fields that others set are taken over.
    """

    profile: Profile
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
    serving: ServingSpec = field(default_factory=ServingSpec)
    force: bool = False


class Operations:
    """What can be done with models on a cluster; use it within one event loop.

    Args:
        cluster: The cluster's API.
        watching: What is known of it.
        blueprint: What workloads have in common.
        store: Where servers fetch builds.
        prove: Raises where this process may not write.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        watching: Watching,
        blueprint: Blueprint,
        store: Store,
        prove: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._watching = watching
        self._blueprint = blueprint
        self._store = store
        self._prove = prove
        self._turns: dict[TritonName, asyncio.Lock] = {}
        self._writing = asyncio.Lock()
        self.strategy = _STRATEGIES[blueprint.profile.strategy]()

    async def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        """Make a slot hold a build, and wait until its servers are ready with it.

        Raises:
            SlotInUseError: The slot has traffic and another build.
            LoadPendingError: The servers are not ready in time, or cannot be asked for yet.
            NotLoadedError: They will not become ready; why.
        """
        async with self._turn(build.model):
            record = self._watching.record(build.model)
            held = record.slots.get(slot)
            if held is None or held.build_id != build.build_id:
                uri = await self._publish(build)
                record = await self._placed(record, build, slot, uri=uri, timeout_s=timeout_s)
                await self._write(record)
            else:
                if not held.pending and not self.strategy.holds(record, self._seen(record), slot):
                    held = replace(held, storage_uri=await self._publish(build))
                    record = record.with_held(slot, held)
                await self._write(record)
            if record.slots[slot].pending:
                await self._finish(record, slot, timeout_s=timeout_s)
                return
        # It writes nothing, so that nobody has to wait for it.
        await self._answering(record, slot, timeout_s=timeout_s)

    async def unload(self, model: TritonName, slot: SlotName, *, timeout_s: float) -> None:
        """Make a slot let go of a model; with its last slot a workload goes altogether.

        Raises:
            SlotInUseError: The slot has traffic.
            LoadPendingError: What has to be ready before is not.
        """
        async with self._turn(model):
            record = self._watching.record(model)
            if slot not in record.slots:
                if slot in record.leaving:  # it was cut off
                    await self._write(record)
                    await self._left(record, slot)
                return
            if record.weight(slot) and len(record.slots) > 1:
                raise SlotInUseError(
                    f"Slot {slot!r} of {model!r} has traffic.", hint="Give it to another first."
                )
            first = self.strategy.before_unload(record, self._seen(record), slot)
            if first is not None:
                record = await self._come_true(first, timeout_s=timeout_s)
            rest = record.without(slot)
            if rest.slots and rest.primary is None and self._blueprint.profile.one_service:
                rest = replace(rest, primary=rest.others(slot)[0])
            if rest.slots and (why := self.strategy.guarded(rest, self._seen(record))):
                raise LoadPendingError(f"Slot {slot!r} of {model!r} stays for now: {why}.")
            if rest.slots:
                leaving = {**rest.leaving, slot: record.slots[slot].ordinal}
                rest = replace(rest, leaving=leaving)
            await self._write(rest)
            if rest.slots:
                await self._left(rest, slot)

    async def divide(self, split: TrafficSplit, *, timeout_s: float) -> None:
        """Put a split in force, and wait until the cluster acknowledges it.

        Raises:
            WeightsHeldBackError: They would reach something else than the verified version.
            WeightsPendingError: The cluster did not acknowledge them in time.
            LoadPendingError: What has to be ready before is not.
        """
        async with self._turn(split.model):
            record = self._watching.record(split.model)
            _check(record, split)
            first = self.strategy.before_split(record, self._seen(record), split)
            if first is not None:
                record = await self._come_true(first, timeout_s=timeout_s)
            wanted = replace(record, split=split)
            if self._blueprint.profile.strategy is Traffic.CANARY:
                wanted = replace(wanted, primary=stable_for(wanted))
            await self._weigh(record, wanted)
            acknowledged = await self._watching.until(
                lambda: self.in_force(wanted), timeout_s=timeout_s
            )
            if not acknowledged:
                raise WeightsPendingError(
                    f"The cluster has not put the weights of {split.model!r} in force yet.",
                    hint="`conch diff` shows what is; KServe's controller may be behind.",
                )

    def in_force(self, record: Record) -> bool:
        """Tell whether the cluster acknowledges a record's split, and exactly that."""
        found = self.strategy.weights(record, self._seen(record))
        return found is not None and found == {slot: record.weight(slot) for slot in record.slots}

    def intended(self, record: Record) -> list[Object]:
        """Return every object that follows from a record."""
        if not record.slots:
            return []
        workload = record.as_workload(
            serving=self._blueprint.serving,
            resources=self._blueprint.resources,
            scaling=self._blueprint.scaling,
        )
        bodies = list(manifests(self._blueprint.profile, workload).values())
        if record.split is None:  # nothing is reachable before it passed its preflight
            bodies = [body for body in bodies if body["kind"] != HTTP_ROUTE.kind]
        return [record.body(), *bodies]

    async def plan(self, record: Record) -> applying.Plan:
        """Return what has to change so that the cluster holds what follows from a record."""
        intended = self.intended(record)
        found = await applying.observe(
            self._cluster, workload=record.workload, namespace=record.namespace, intended=intended
        )
        return decide(intended, found)

    async def preview(self, build: BuildRef, slot: SlotName) -> applying.Plan:
        """Return what loading a build would change, checked by the API server and not done.

        Raises:
            ClusterError: The API server would refuse something of it.
        """
        record = self._watching.record(build.model)
        held = record.slots.get(slot)
        if held is None or held.build_id != build.build_id:
            uri = self._store.address(build)
            record = await self._placed(record, build, slot, uri=uri, timeout_s=0.0)
        plan = await self.plan(record)
        await applying.carry_out(self._cluster, plan, force=self._blueprint.force, dry_run=True)
        return plan

    async def _placed(
        self, record: Record, build: BuildRef, slot: SlotName, *, uri: str, timeout_s: float
    ) -> Record:
        if slot in record.slots and record.weight(slot) and self.in_force(record):
            raise SlotInUseError(
                f"Slot {slot!r} of {build.model!r} has traffic and holds another build.",
                hint="Load into the other slot.",
            )
        ready = await self._watching.until(
            lambda: not self.strategy.settled(record, self._seen(record), slot),
            timeout_s=timeout_s,
        )
        if not ready:
            why = self.strategy.settled(record, self._seen(record), slot)
            raise LoadPendingError(f"{build.model!r} cannot be loaded into {slot!r} yet: {why}.")
        service = self._seen(record).service(self.strategy.service(record, slot))
        held = Held(
            ordinal=build.ordinal,
            build_id=build.build_id,
            digest=build.digest,
            storage_uri=uri,
            before=service.created,
            blamed=service.failure,
        )
        split = record.split
        if split is not None:  # the slot's former build, which has no traffic, is no arm any more
            arms = tuple(arm for arm in split.arms if arm.slot != slot)
            split = replace(split, arms=arms) if arms else None
        placed = replace(record.with_held(slot, held), split=split)
        return self.strategy.placed(placed, slot)

    async def _publish(self, build: BuildRef) -> str:
        return await asyncio.to_thread(self._store.publish, build)

    async def _come_true(self, record: Record, *, timeout_s: float) -> Record:
        """Write a record, wait for the build in `spec.predictor`, and return it with that settled.

        What else is pending is another operation's matter, and may never come.
        """
        await self._write(record)
        slot = record.primary
        if slot is not None and record.slots[slot].pending:
            record = await self._finish(record, slot, timeout_s=timeout_s)
        return record

    async def _finish(self, record: Record, slot: SlotName, *, timeout_s: float) -> Record:
        """Wait for a pending build's servers and write down that they are there."""

        def progress() -> Progress:
            return self.strategy.progress(record, self._seen(record), slot)

        await self._watching.until(
            lambda: progress().state is not State.WAITING, timeout_s=timeout_s
        )
        found, held = progress(), record.slots[slot]
        if found.state is State.FAILED:
            raise NotLoadedError(
                f"Slot {slot!r} does not load {record.model} version {held.ordinal}: "
                f"{found.reason}.",
                hint="What served before still serves. `kubectl describe` shows the pods' events.",
            )
        if found.state is State.WAITING:
            raise LoadPendingError(
                f"Slot {slot!r} is not ready with {record.model} version {held.ordinal} after "
                f"{timeout_s:g} s: {found.reason.rstrip('; ')}.",
                hint="What served before still serves.",
            )
        done = replace(held, pending=False, revision=found.revision)
        record = record.with_held(slot, done)
        await self._apply(record.body())
        return record

    async def _answering(self, record: Record, slot: SlotName, *, timeout_s: float) -> None:
        there = await self._watching.until(
            lambda: self.strategy.holds(record, self._seen(record), slot), timeout_s=timeout_s
        )
        if not there:
            raise LoadPendingError(f"No server of slot {slot!r} answers for {record.model!r}.")

    async def _left(self, record: Record, slot: SlotName) -> None:
        """Write down that nothing of a slot is there any more."""
        leaving = {name: held for name, held in record.leaving.items() if name != slot}
        await self._apply(replace(record, leaving=leaving).body())

    async def _write(self, record: Record) -> None:
        """Make the cluster hold exactly what follows from a record."""
        async with self._writing:  # a runtime that one model is about to use looks idle to another
            plan = await self.plan(record)
            self._prove()
            written = await applying.carry_out(self._cluster, plan, force=self._blueprint.force)
        await self._watching.note(*written)
        if not record.slots:
            await self._watching.until(
                lambda: not self._watching.record(record.model).slots, timeout_s=5.0
            )

    async def _weigh(self, record: Record, wanted: Record) -> None:
        """Write weights, and nothing else, where they are safe at that very moment."""
        for body in self.intended(wanted):
            if not self._carries_weights(body):
                continue
            for _ in range(_TRIES):
                if why := self.strategy.guarded(wanted, await self._fresh(wanted)):
                    raise WeightsHeldBackError(
                        f"The weights of {record.model!r} stay as they are: {why}.",
                        hint="They are tried again; somebody may have changed the object.",
                    )
                await self._apply(wanted.body())
                try:
                    await self._apply(self._stated(body, wanted))
                except ObjectChangedError:
                    continue  # its status moved, or its spec: look again
                return
        raise WeightsHeldBackError(
            f"The weights of {record.model!r} stay as they are: the object changes all the time."
        )

    def _carries_weights(self, body: Object) -> bool:
        kind = INFERENCE_SERVICE if self._blueprint.profile.one_service else HTTP_ROUTE
        return bool(body["kind"] == kind.kind)

    def _stated(self, body: Object, record: Record) -> Object:
        """Return a body that is refused where the object is not the one that was judged."""
        if not self._blueprint.profile.one_service:
            return applying.stamped(body)
        seen = self._seen(record).services[record.workload]
        version = seen["metadata"]["resourceVersion"]
        return {**body, "metadata": {**body["metadata"], "resourceVersion": version}}

    async def _fresh(self, record: Record) -> Any:
        """Look at the workload's InferenceServices now, not as the watch last told."""
        for name in {self.strategy.service(record, slot) for slot in record.slots}:
            key = Key(
                api_version=INFERENCE_SERVICE.api_version,
                kind=INFERENCE_SERVICE.kind,
                namespace=record.namespace,
                name=name,
            )
            await self._watching.note(await self._cluster.get(key))
        return self._seen(record)

    async def _apply(self, body: Object) -> None:
        self._prove()
        answer = await self._cluster.apply(applying.stamped(body), force=self._blueprint.force)
        await self._watching.note(answer)

    def _seen(self, record: Record) -> Any:
        return self._watching.seen(record)

    def _turn(self, model: TritonName) -> asyncio.Lock:
        return self._turns.setdefault(model, asyncio.Lock())


def _check(record: Record, split: TrafficSplit) -> None:
    """Refuse a split that names what the slots do not hold, ready."""
    missing: Sequence[str] = [
        f"version {arm.ordinal} in slot {arm.slot!r}"
        for arm in split.arms
        if (held := record.slots.get(arm.slot)) is None or held.build_id != arm.build_id
    ]
    if missing:
        raise WeightsHeldBackError(
            f"{split.model!r} is not loaded as the split says: {', '.join(missing)}."
        )
