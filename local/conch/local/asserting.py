"""Making a server hold what its slot should: after a restart nothing is loaded.

Runs in a thread of the supervisor, one for each server at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from conch.core import ConchError, Ordinal, SlotName, TritonName

from .atomic_files import locked
from .desired import DesiredFile, DesiredLoad
from .errors import SlotNotReadyError
from .homes import Home
from .instances import AssertionResult, Refusal
from .repositories import held, place, settle
from .servers import TritonServer

_LOAD_TIMEOUT_S = 600.0


class Assertion:
    """One round of loads and unloads at one server.

    `current` is the build being loaded, so that a crash can be blamed on it; it stays set when the
    server goes away meanwhile.
    """

    def __init__(
        self,
        *,
        home: Home,
        slot: SlotName,
        address: str,
        loads: Sequence[DesiredLoad],
        unloads: Sequence[str],
        backends: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._slot = slot
        self._address = address
        self.loads = tuple(loads)
        self._unloads = tuple(unloads)
        self._backends = backends
        self._clock = clock
        self.current: DesiredLoad | None = None

    def run(self) -> AssertionResult:
        """Load and unload; a build that is refused does not keep the others from loading.

        In the result a model that was let go has version 0.
        """
        asserted: dict[str, int] = {}
        refused: dict[str, Refusal] = {}
        with TritonServer(self._address) as server:
            for load in self.loads:
                try:
                    if self._assert(server, load):
                        asserted[load.model] = load.ordinal
                except ConchError as error:
                    self._note(refused, load, str(error))
                    if isinstance(error, SlotNotReadyError):
                        break  # `current` stays: it is what the server went away over
                except OSError as error:
                    self._note(refused, load, f"{load.path}: {error}")
                self.current = None
            for model in self._unloads:
                asserted[model] = 0
                self._unload(server, TritonName(model))
        return AssertionResult(asserted=asserted, refused=refused)

    def _assert(self, server: TritonServer, load: DesiredLoad) -> bool:
        with locked(self._home.slot_lock(self._slot)):
            # The target may have changed its mind while we waited for the lock.
            desired = DesiredFile(self._home).require()
            if desired.load_of(self._slot, load.model) != load:
                return False
            placement = place(self._home, self._slot, load, self._backends)
            settle(placement)
            if server.is_ready(load.model, load.ordinal):
                return True
            server.models()  # raises for a server that is gone already: no load is to blame
            self.current = load
            server.load(load.model, Ordinal(load.ordinal), timeout_s=_LOAD_TIMEOUT_S)
            return True

    def _unload(self, server: TritonServer, model: TritonName) -> None:
        with locked(self._home.slot_lock(self._slot)):
            desired = DesiredFile(self._home).require()
            if desired.load_of(self._slot, model) is not None:
                return
            if held(self._home, self._slot, model) is not None:
                return  # the target is placing another version of it
            try:
                server.unload(model, timeout_s=_LOAD_TIMEOUT_S)
            except ConchError:
                return  # it holds a model that nobody is routed to; the next round tries again

    def _note(self, refused: dict[str, Refusal], load: DesiredLoad, reason: str) -> None:
        refused[load.model] = Refusal(ordinal=load.ordinal, reason=reason, at=self._clock())
