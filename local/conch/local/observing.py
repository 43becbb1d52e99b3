"""Looking at every supervised process: does it run, does it answer, what came of its loads."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from conch.core import ConchError, TritonName

from .asserting import Assertion
from .deciding import Assert
from .desired import Desired, DesiredFile, DesiredLoad
from .envoy import EnvoyAdmin
from .errors import SlotNotReadyError
from .examining import examine
from .homes import Home
from .identities import Identity
from .instances import AssertionResult, Instance, Kind, Phase, Refusal, Seen
from .offers import backend_directory, installed_backends
from .probing import ready
from .processes import Processes, own_fault
from .servers import TritonServer

_PROBE_PERIOD_S: Final = 1.0
_EXAMINE_AGAIN_S: Final = 5.0

log = logging.getLogger(__name__)


def identity_of(one: Instance) -> Identity | None:
    """Return an instance's process; None while it has none."""
    return None if one.pid is None else Identity(pid=one.pid, started=one.started)


def backends_of(one: Instance, desired: Desired) -> frozenset[str]:
    """Return what a Triton server offers: as it was examined, or as it is installed."""
    if one.given:
        return frozenset(one.backends)
    return installed_backends(backend_directory(desired.settings, desired.runtime))


@dataclass(frozen=True, slots=True)
class _Running:
    assertion: Assertion
    task: asyncio.Task[AssertionResult]


@dataclass(slots=True)
class _Examination:
    task: asyncio.Task[frozenset[str]]
    again_at: float = math.inf


class Observer:
    """Observes the instances of one home, and carries out assertions of loads beside that.

    Args:
        home: The home.
        processes: Its processes.
        clock: Seconds since the epoch.
    """

    def __init__(self, *, home: Home, processes: Processes, clock: Callable[[], float]) -> None:
        self._home = home
        self._processes = processes
        self._clock = clock
        self._assertions: dict[str, _Running] = {}
        self._suspects: dict[str, DesiredLoad] = {}
        self._examinations: dict[str, _Examination] = {}
        self._probed: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether any server is being told what to load."""
        return bool(self._assertions)

    def begin(self, order: Assert, one: Instance, desired: Desired) -> None:
        """Start telling a server what to load; `look` reports what came of it."""
        assert one.slot is not None
        assertion = Assertion(
            home=self._home,
            slot=one.slot,
            address=one.grpc_address,
            loads=order.loads,
            unloads=order.unloads,
            backends=backends_of(one, desired),
            clock=self._clock,
        )
        task = asyncio.create_task(_in_thread(assertion.run))
        self._assertions[one.name] = _Running(assertion, task)

    def forget(self, name: str) -> None:
        """Drop what is going on at a server that is gone."""
        self._assertions.pop(name, None)
        self._examinations.pop(name, None)

    async def look(self, instances: Mapping[str, Instance], desired: Desired) -> dict[str, Seen]:
        """Return what is to be seen of each instance now."""
        found = await asyncio.gather(*(self._look(one, desired) for one in instances.values()))
        return dict(zip(instances, found, strict=True))

    async def _look(self, one: Instance, desired: Desired) -> Seen:
        assertion = self._progress(one.name)
        if one.given:
            return await self._look_at_given(one, desired, assertion)
        identity = identity_of(one)
        if identity is None:
            return Seen(exit=one.last_exit)
        if (reason := self._processes.exit_reason(identity)) is not None:
            suspect = self._suspects.pop(one.name, None)
            culprit = self._being_loaded(one, desired) or suspect
            return Seen(exit=reason, fault=own_fault(reason), culprit=culprit)
        return Seen(
            alive=True,
            ready=await self._probe(one, desired),
            idle=one.phase is Phase.DRAINING and one.kind is Kind.ENVOY and self._idle(),
            asserting=one.name in self._assertions,
            assertion=assertion,
        )

    async def _look_at_given(
        self, one: Instance, desired: Desired, assertion: AssertionResult | None
    ) -> Seen:
        usual = Seen(
            alive=True,
            ready=await self._probe(one, desired),
            asserting=one.name in self._assertions,
            assertion=assertion,
        )
        if one.phase is not Phase.STARTING:
            emptied = bool(usual.ready) and await asyncio.to_thread(self._emptied, one)
            return replace(usual, emptied=emptied)
        if not usual.ready:
            self._examinations.pop(one.name, None)
            return usual
        return replace(usual, **self._examined(one))

    def _examined(self, one: Instance) -> dict[str, Any]:
        """Return what is seen of a given server that answers; it is ready once it passed."""
        assert one.slot is not None
        under_way = self._examinations.get(one.name)
        if under_way is None or self._clock() >= under_way.again_at:
            task = asyncio.create_task(
                asyncio.to_thread(examine, one.grpc_address, self._home.repository(one.slot))
            )
            self._examinations[one.name] = under_way = _Examination(task)
        if not under_way.task.done():
            return {"ready": False}
        if (error := under_way.task.exception()) is None:
            del self._examinations[one.name]
            return {"backends": tuple(sorted(under_way.task.result()))}
        if under_way.again_at == math.inf:
            log.error("%s cannot be used: %s", one.name, error)
            under_way.again_at = self._clock() + _EXAMINE_AGAIN_S
        return {"ready": False, "exit": str(error)}

    def _emptied(self, one: Instance) -> bool:
        """Tell whether a server has no version of a model that it was seen to hold and should.

        One that is started again between two probes answers every time; no process tells of it.
        """
        try:
            with TritonServer(one.grpc_address) as server:
                held = {each.model for each in server.models()}
        except SlotNotReadyError:
            return False  # the next probe says so
        lost = {TritonName(model) for model in one.asserted} - held
        if one.slot is None or not lost:
            return False
        # Read after the server was asked: what the target lets go of leaves this file first.
        desired = DesiredFile(self._home).require()
        return any(load.model in lost for load in desired.loads.get(one.slot, ()))

    def _progress(self, name: str) -> AssertionResult | None:
        """Note which build a server is loading; return what came of it once that is over."""
        if (running := self._assertions.get(name)) is None:
            return None
        if (current := running.assertion.current) is not None:
            self._suspects[name] = current
        else:
            self._suspects.pop(name, None)
        if not running.task.done():
            return None
        del self._assertions[name]
        if (error := running.task.exception()) is None:
            return running.task.result()
        log.error("asserting loads at %s failed", name, exc_info=error)
        reason, now = f"{type(error).__name__}: {error}", self._clock()
        return AssertionResult(
            asserted={},
            refused={
                load.model: Refusal(ordinal=load.ordinal, reason=reason, at=now)
                for load in running.assertion.loads
            },
        )

    async def _probe(self, one: Instance, desired: Desired) -> bool | None:
        now = self._clock()
        due = self._probed.get(one.name, 0.0) + _PROBE_PERIOD_S <= now
        if one.phase is not Phase.STARTING and not (one.phase is Phase.READY and due):
            return None
        self._probed[one.name] = now
        return await ready(one, desired, self._home)

    def _being_loaded(self, one: Instance, desired: Desired) -> DesiredLoad | None:
        """Return the build that the target was loading into a server."""
        if one.slot is None:
            return None
        progress = (DesiredFile(self._home).read() or desired).loading.get(one.slot)
        return progress.load if progress is not None and progress.pid == one.pid else None

    def _idle(self) -> bool:
        try:
            return EnvoyAdmin(self._home.envoy).active_requests() == 0
        except ConchError:
            return True


async def _in_thread(function: Callable[[], AssertionResult]) -> AssertionResult:
    return await asyncio.to_thread(function)
