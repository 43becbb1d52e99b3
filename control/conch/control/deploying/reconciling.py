"""The reconciler: looks at every model's world, decides, applies, until nothing is left to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from conch.core import ConchError, SlotName, TargetState, TrafficSplit, TritonName

from ..ports import Target
from ..state import Database, Model, Transaction
from .applying import apply
from .deciding import decide
from .steps import Unload
from .world import World, desired_split, observe

log = logging.getLogger(__name__)

_MOST_ROUNDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The target at one moment: its state, None while it cannot be seen, and what it bars."""

    state: TargetState | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)


class Reconciler:
    """Brings the target to what the database says.

    Args:
        database: Where the wanted state is.
        target: Where it is to become true.
        slots: The target's groups of servers, in the order in which they are filled.
        environment: What people call the target, such as `local` or `prod`.
        now: The clock.
        wake_jobs: Called after steps that may have queued a job.
        guard: Raises within a transaction where this process may not act.

    `lock` is held while a decision is taken and applied; whoever changes what is wanted holds it
    over the change and a `run()`, so that the answer to a person comes after the effect.
    """

    def __init__(
        self,
        *,
        database: Database,
        target: Target,
        slots: tuple[SlotName, ...],
        environment: str,
        now: Callable[[], datetime],
        wake_jobs: Callable[[], None],
        guard: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        self._database = database
        self._target = target
        self.slots = slots
        self._environment = environment
        self._now = now
        self._wake_jobs = wake_jobs
        self.guard = guard
        self.lock = threading.RLock()

    def run(self) -> None:
        """Take every step that can be taken now.

        Raises:
            ConchError: The database or the target failed; the next run goes on from there.
        """
        with self.lock:
            for _ in range(_MOST_ROUNDS):
                look = self._look()
                stepped = self._rows(look)
                routed = self._route(look)
                unloaded = self._unload(self._look() if routed else look)
                if stepped:
                    self._wake_jobs()
                if not (stepped or routed or unloaded):
                    return
            log.warning("still not settled after %d rounds", _MOST_ROUNDS)

    def route(self) -> None:
        """Put the wanted routes in force, before anything else is looked at.

        Raises:
            ConchError: The database or the target failed; the next run goes on from there.
        """
        with self.lock:
            self._route(self._look())

    def _look(self) -> _Look:
        try:
            return _Look(state=self._target.observe(), quarantined=self._target.quarantined())
        except ConchError as error:
            log.warning("the target cannot be seen: %s", error)
            return _Look()

    def _worlds(self, look: _Look) -> list[World]:
        with self._database.begin() as tx:
            return [self._observe(tx, model, look) for model in tx.models.find()]

    def _observe(self, tx: Transaction, model: Model, look: _Look) -> World:
        return observe(
            tx,
            model,
            target=look.state,
            quarantined=look.quarantined,
            slots=self.slots,
            environment=self._environment,
            now=self._now(),
        )

    def _rows(self, look: _Look) -> bool:
        with self._database.begin() as tx:
            models: list[Model] = tx.models.find()
        settled = [self._settle(model, look) for model in models]
        return any(settled)

    def _settle(self, model: Model, look: _Look) -> bool:
        """Apply one model's steps, each decided on the world that the one before it made."""
        with self._database.begin() as tx:
            self.guard(tx)
            for count in range(_MOST_ROUNDS):
                world = self._observe(tx, model, look)
                rows = [step for step in decide(world) if not isinstance(step, Unload)]
                if not rows:
                    return count > 0
                apply(tx, world, rows[0])
            raise AssertionError(f"{model.name}: steps follow each other without end")

    def _route(self, look: _Look) -> bool:
        state = look.state
        if state is None:
            return False
        wanted: dict[TritonName, TrafficSplit] = {}
        for world in self._worlds(look):
            split = desired_split(world)
            kept = state.routes.get(world.model.triton_name)
            if split is None and kept is not None and world.live is not None:
                split = kept  # what is live is never taken away because it cannot be seen
            if split is not None:
                wanted[split.model] = split
        if wanted == dict(state.routes):
            return False
        self._prove()
        self._target.set_routes([wanted[name] for name in sorted(wanted)])
        return True

    def _prove(self) -> None:
        with self._database.begin() as tx:
            self.guard(tx)

    def _unload(self, look: _Look) -> bool:
        done = False
        for world in self._worlds(look):
            for step in decide(world):
                if isinstance(step, Unload):
                    self._prove()
                    self._target.unload(world.model.triton_name, step.serving.slot)
                    with self._database.begin() as tx:
                        tx.servings.remove(step.serving)
                    done = True
        return done
