"""The local target: what the control plane tells this machine, and what it sees of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import (
    BuildRef,
    InvalidValueError,
    ServerState,
    ServerStatus,
    SlotName,
    TargetState,
    TrafficSplit,
    TritonName,
)

from .atomic_files import locked
from .desired import Desired, DesiredFile, DesiredLoad, LoadInProgress
from .errors import (
    BuildQuarantinedError,
    LoadFailedError,
    ServerGivenError,
    SlotNotReadyError,
)
from .gateways import Gateway
from .homes import Home
from .instances import Instance, Kind, Phase
from .observed import Observed, read_observed
from .observing import backends_of
from .repositories import Placement, place, remove, settle, undo
from .runtime import Runtime
from .servers import TritonServer
from .settings import LocalSettings

_ACKNOWLEDGE_S: Final = 5.0
_UNLOAD_S: Final = 60.0


class LocalTarget:
    """One machine's Triton servers and gateway, behind the port that every target has.

    Every call is idempotent and may be killed at any point: the desired file says what each slot
    should hold, and the supervisor brings that about. Instances hold no state and may be used from
    several threads.

    Args:
        home: Folder of the target.
        runtime: The programs; written to the desired file if nothing was set up yet.
        settings: Of the local target; likewise.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        home: Path,
        *,
        runtime: Runtime,
        settings: LocalSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._home = Home(home.resolve())
        self._home.create()
        self._file = DesiredFile(self._home)
        if self._file.read() is None:
            self._file.set_up(settings=settings, runtime=runtime, services=())
        self._gateway = Gateway(self._home)

    def observe(self) -> TargetState:
        """Return every server with what it holds, the routes in force, and where to call.

        Never raises for a server that does not answer: that is what it reports.
        """
        desired, observed = self._file.require(), read_observed(self._home)
        port = desired.settings.inference_port
        if observed is not None and observed.inference_port is not None:
            port = observed.inference_port
        return TargetState(
            servers=tuple(self._statuses(desired, observed)),
            routes=self.routes(),
            inference_url=f"http://{desired.settings.inference_host}:{port}",
            gateway_ready=self._gateway.live(),
        )

    def routes(self) -> dict[TritonName, TrafficSplit]:
        """Return the routing table that the gateway acknowledged last."""
        return {split.model: split for split in self._gateway.acknowledged()}

    def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        """Make a slot hold a build, in the place of the model's previous version there.

        One server loads it first, warm-up included; the rest follow only if that worked. Until a
        server has it, it serves the previous version; nothing is unloaded before.

        Raises:
            LoadFailedError: Triton refused it. The slot serves what it did before.
            SlotNotReadyError: No server of the slot is ready, or one went away meanwhile.
            BuildQuarantinedError: Servers crashed over this build.
            BuildIncompleteError: The build has no flavour that the slot's servers can serve.
        """
        load = DesiredLoad.of(build)
        self._refuse_quarantined(load, slot)
        with locked(self._home.slot_lock(slot)):
            servers = self._ready_servers(slot)
            desired = self._file.require()
            previous = desired.load_of(slot, load.model)
            if previous == load and self._everywhere(servers, load):
                return
            offered = frozenset.intersection(*(backends_of(one, desired) for one in servers))
            placement = place(self._home, slot, load, offered)
            switched: list[Instance] = []
            try:
                for server in servers:
                    self._note(slot, LoadInProgress(load=load, pid=server.pid or 0))
                    switched.append(server)
                    with _connected(server) as triton:
                        triton.load(load.model, load.ordinal, timeout_s=timeout_s)
            except SlotNotReadyError:
                # The note stays, so that the supervisor knows what the server went away over.
                self._go_back(slot, placement, switched, previous, load, timeout_s=timeout_s)
                raise
            except BaseException:
                self._note(slot, None)
                self._go_back(slot, placement, switched, previous, load, timeout_s=timeout_s)
                raise
            at = self._clock()
            self._file.change(lambda it: it.with_load(slot, load, at=at).with_loading(slot, None))
            settle(placement)
            self._catch_up(
                slot, load, known={server.pid for server in servers}, timeout_s=timeout_s
            )

    def unload(self, model: TritonName, slot: SlotName) -> None:
        """Make a slot let go of a model; one that it does not hold is fine.

        Raises:
            LoadFailedError: A server refused.
        """
        self._file.change(lambda desired: desired.without_load(slot, model))
        with locked(self._home.slot_lock(slot)):
            for server in self._instances(slot):
                if server.phase not in (Phase.READY, Phase.LOADING):
                    continue
                # One that went away holds nothing any more.
                with contextlib.suppress(SlotNotReadyError), _connected(server) as triton:
                    triton.unload(model, timeout_s=_UNLOAD_S)
            remove(self._home, slot, model)

    def infer(
        self,
        model: TritonName,
        slot: SlotName,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        replica: int = 0,
        timeout_s: float,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run a model at one server directly, past the gateway and its weights.

        Args:
            model: The model; the version that the slot holds.
            slot: The slot.
            inputs: Arrays by tensor name, with the batch dimension where the model has one.
            replica: Which server of the slot.
            timeout_s: Longest wait, in seconds.

        Returns:
            Outputs by tensor name; BYTES as arrays of `bytes` objects.

        Raises:
            SlotNotReadyError: There is no such server, or it is not ready.
            InferenceFailedError: The server answered with an error.
        """
        servers = [one for one in self._ready_servers(slot) if one.replica == replica]
        if not servers:
            raise SlotNotReadyError(f"Server {replica} of slot {slot!r} is not ready.")
        with _connected(servers[0]) as triton:
            return triton.infer(model, inputs, timeout_s=timeout_s)

    def set_routes(self, splits: Sequence[TrafficSplit]) -> None:
        """Put a whole routing table in force; returns once the gateway has acknowledged it.

        Raises:
            InvalidValueError: Two splits for one model.
            RoutesRejectedError: The gateway refused it; the previous table is in force.
            GatewayUnavailableError: The gateway did not answer in time; likewise.
        """
        models = [split.model for split in splits]
        if len(set(models)) != len(models):
            raise InvalidValueError(f"Two traffic splits for one model: {sorted(models)}.")
        settings = self._file.require().settings
        self._gateway.apply(splits, settings, timeout_s=_ACKNOWLEDGE_S)

    def scale(self, slot: SlotName, replicas: int) -> None:
        """Change how many servers a slot should have; the supervisor starts or drains them.

        Raises:
            InvalidValueError: There is no such slot, or the number is out of range.
            ServerGivenError: Somebody else runs the servers of this slot.
        """
        settings = self._file.require().settings
        if slot not in settings.slots:
            raise InvalidValueError(f"There is no slot {slot!r}.")
        if slot in settings.servers:
            raise ServerGivenError(
                f"The servers of slot {slot!r} are run by somebody else.",
                hint="Start or end servers there, and name them in `serving.servers`.",
            )
        self._file.change(lambda desired: desired.with_replicas(slot, replicas))

    def quarantined(self) -> dict[str, str]:
        """Return the builds that are not loaded any more, each with the reason."""
        observed = read_observed(self._home)
        return {} if observed is None else dict(observed.crashes.reasons)

    def pardon(self, build_id: str) -> None:
        """Forget the crashes of a build, so that it may be loaded again; a person's decision."""
        self._file.change(
            lambda desired: replace(desired, pardoned=tuple({*desired.pardoned, build_id}))
        )

    def _refuse_quarantined(self, load: DesiredLoad, slot: SlotName) -> None:
        reason = self.quarantined().get(load.build_id)
        if reason is not None and load.build_id not in self._file.require().pardoned:
            raise BuildQuarantinedError(
                f"Build {load.build_id} of {load.model} is not loaded into {slot!r}: {reason}.",
                hint="Build it again, or lift the quarantine once the cause is known.",
                build_id=load.build_id,
            )

    def _catch_up(
        self, slot: SlotName, load: DesiredLoad, *, known: set[int | None], timeout_s: float
    ) -> None:
        """Load a build into servers that became ready while the others took it."""
        for server in self._ready_servers(slot):
            if server.pid not in known:
                # One that goes away or refuses is told by its supervisor what to hold.
                gone = contextlib.suppress(SlotNotReadyError, LoadFailedError)
                with gone, _connected(server) as triton:
                    if not triton.is_ready(load.model, load.ordinal):
                        triton.load(load.model, load.ordinal, timeout_s=timeout_s)

    def _everywhere(self, servers: Sequence[Instance], load: DesiredLoad) -> bool:
        for server in servers:
            with _connected(server) as triton:
                if not triton.is_ready(load.model, load.ordinal):
                    return False
        return True

    def _note(self, slot: SlotName, progress: LoadInProgress | None) -> None:
        self._file.change(lambda desired: desired.with_loading(slot, progress))

    def _go_back(
        self,
        slot: SlotName,
        placement: Placement,
        switched: Sequence[Instance],
        previous: DesiredLoad | None,
        load: DesiredLoad,
        *,
        timeout_s: float,
    ) -> None:
        """Restore the repository, and the servers that had already taken the new version."""
        undo(placement)
        for server in switched:
            # A server that is gone is told by its supervisor what to hold.
            gone = contextlib.suppress(SlotNotReadyError, LoadFailedError)
            with gone, _connected(server) as triton:
                if not triton.is_ready(load.model, load.ordinal):
                    continue
                if previous is None:
                    triton.unload(load.model, timeout_s=_UNLOAD_S)
                elif placement.changed:
                    triton.load(load.model, previous.ordinal, timeout_s=timeout_s)

    def _statuses(self, desired: Desired, observed: Observed | None) -> Iterator[ServerStatus]:
        instances = {} if observed is None else observed.instances
        for slot, replicas in sorted(desired.settings.slots.items()):
            for replica in range(replicas):
                instance = instances.get(f"triton-{slot}-{replica}")
                if instance is None:
                    missing = "The supervisor has not started it."
                    yield ServerStatus(
                        slot=SlotName(slot),
                        replica=replica,
                        state=ServerState.STOPPED,
                        reason=missing,
                    )
                else:
                    yield _status(instance)

    def _instances(self, slot: SlotName) -> list[Instance]:
        observed = read_observed(self._home)
        found = [] if observed is None else list(observed.instances.values())
        servers = [one for one in found if one.kind is Kind.TRITON and one.slot == slot]
        return sorted(servers, key=lambda one: one.replica)

    def _ready_servers(self, slot: SlotName) -> list[Instance]:
        ready = [one for one in self._instances(slot) if one.phase is Phase.READY]
        if not ready:
            raise SlotNotReadyError(
                f"No server of slot {slot!r} is ready.", hint="See 'conch status'."
            )
        return ready


def _status(one: Instance) -> ServerStatus:
    assert one.slot is not None
    waits = one.phase is Phase.WAITING or one.given
    state, reason = _STATES[one.phase], one.last_exit if waits else ""
    if one.phase is Phase.WAITING and one.failures:
        state = ServerState.FAILED
    status = ServerStatus(
        slot=one.slot,
        replica=one.replica,
        state=state,
        restarts=one.restarts,
        reason=reason or "; ".join(refusal.reason for refusal in one.refused.values()),
        endpoints={name: f"{one.host}:{port}" for name, port in one.ports.items()},
    )
    if one.phase is not Phase.READY:
        return status
    try:
        with _connected(one) as triton:
            return replace(status, models=triton.models())
    except SlotNotReadyError as error:
        return replace(status, state=ServerState.FAILED, reason=error.message)


_STATES: Final = {
    Phase.WAITING: ServerState.STARTING,
    Phase.STARTING: ServerState.STARTING,
    Phase.LOADING: ServerState.STARTING,
    Phase.READY: ServerState.READY,
    Phase.DRAINING: ServerState.STOPPED,
    Phase.STOPPING: ServerState.STOPPED,
}


def _connected(one: Instance) -> TritonServer:
    return TritonServer(one.grpc_address)
