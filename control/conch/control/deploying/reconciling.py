"""The reconciler: looks at every model's world, decides, applies, until nothing is left to do."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from conch.core import ConchError, SlotName, TargetState, TrafficSplit

from ..ports import Target
from ..state import Database, Model, Serving, ServingStatus, Transaction
from .applying import apply
from .deciding import decide
from .steps import RowStep, Unload
from .world import Policy, World, by_hand, desired_split, observe

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
        bake_s: How long a model's first version is on trial, and the build that loses a release
            by hand stays loaded, in seconds.
        copied: Adds to a split which share of its requests is copied.
        guard: Raises within a transaction where this process may not act.
        policy: What a newly verified build does by itself.

    `lock` is held while a decision is taken and applied, and not while servers are asked. Whoever
    changes what is wanted holds it over the change and a `run()`, so that the answer to a person
    comes after the effect.
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
        bake_s: int = 0,
        copied: Callable[[TrafficSplit, World], TrafficSplit] = lambda split, world: split,
        guard: Callable[[Transaction], None] = lambda tx: None,
        policy: Policy = by_hand,
    ) -> None:
        self._copied = copied
        self._database = database
        self._target = target
        self.slots = slots
        self._environment = environment
        self._now = now
        self._wake_jobs = wake_jobs
        self._bake_s = bake_s
        self.guard = guard
        self._policy = policy
        self.lock = threading.RLock()

    def run(self, only: str | None = None) -> None:
        """Take every step that can be taken now: routes first, since callers wait for those.

        Args:
            only: The id of the one model that is looked at; None: all of them.

        Raises:
            ConchError: The database or the target failed; the next run goes on from there.
        """
        # What fails here is tried again, and told, after the rows.
        with contextlib.suppress(ConchError), self.lock:
            self._route(self._worlds(_Look(), only), only)
        for _ in range(_MOST_ROUNDS):
            if not self._round(self._look(), only):
                return
        log.warning("still not settled after %d rounds", _MOST_ROUNDS)

    def _round(self, look: _Look, only: str | None) -> bool:
        with self.lock:
            worlds = self._worlds(look, only)
            if stepped := self._settle(worlds, look):
                self._wake_jobs()
                worlds = self._worlds(look, only)
            routed = self._route(worlds, only)
            unloaded = self._unload(worlds, look)
            return stepped or routed or unloaded

    def _look(self) -> _Look:
        try:
            return _Look(state=self._target.observe(), quarantined=self._target.quarantined())
        except ConchError as error:
            log.warning("the target cannot be seen: %s", error)
            return _Look()

    def _worlds(self, look: _Look, only: str | None) -> list[World]:
        """Return the worlds of the models as the database has them now; writes nothing."""
        with self._database.look() as tx:
            models = tx.models.find() if only is None else tx.models.find(id=only)
            return self._observe(tx, models, look)

    def _observe(self, tx: Transaction, models: list[Model], look: _Look) -> list[World]:
        return observe(
            tx,
            models,
            target=look.state,
            quarantined=look.quarantined,
            slots=self.slots,
            environment=self._environment,
            now=self._now(),
            bake_s=self._bake_s,
            policy=self._policy,
        )

    def _settle(self, worlds: list[World], look: _Look) -> bool:
        due = [world.model for world in worlds if _rows(world)]
        settled = [self._settle_one(model, look) for model in due]
        return any(settled)

    def _settle_one(self, model: Model, look: _Look) -> bool:
        """Apply one model's steps, each decided on the world that the one before it made."""
        with self._database.begin() as tx:
            self.guard(tx)
            for count in range(_MOST_ROUNDS):
                (world,) = self._observe(tx, [tx.models.get(model.id)], look)
                rows = _rows(world)
                if not rows:
                    return count > 0
                apply(tx, world, rows[0])
            raise AssertionError(f"{model.name}: steps follow each other without end")

    def _route(self, worlds: list[World], only: str | None) -> bool:
        """Put the wanted routes in force; of the models that are not looked at they are kept."""
        try:
            routes = dict(self._target.routes())
        except ConchError as error:
            log.warning("the routes cannot be seen: %s", error)
            return False
        wanted = {} if only is None else dict(routes)
        for world in worlds:
            name = world.model.triton_name
            split = desired_split(world)
            if split is None and world.live is not None:
                split = routes.get(name)  # what is live is not taken away for being out of sight
            wanted.pop(name, None)
            if split is not None:
                wanted[name] = self._copied(split, world)
        if wanted == routes:
            return False
        self._prove()
        self._target.set_routes([wanted[name] for name in sorted(wanted)])
        return True

    def _prove(self) -> None:
        with self._database.begin() as tx:
            self.guard(tx)

    def _unload(self, worlds: list[World], look: _Look) -> bool:
        retiring = [one for one in worlds if any(map(_retiring, one.servings))]
        if look.state is None or not retiring:
            return False
        state = replace(look.state, routes=self._target.routes())
        done = False
        for world in retiring:
            for step in decide(replace(world, target=state)):
                if isinstance(step, Unload):
                    self._prove()
                    self._target.unload(world.model.triton_name, step.serving.slot)
                    with self._database.begin() as tx:
                        tx.servings.remove(step.serving)
                    done = True
        return done


def _retiring(serving: Serving) -> bool:
    return serving.status is ServingStatus.RETIRING


def _rows(world: World) -> list[RowStep]:
    return [step for step in decide(world) if not isinstance(step, Unload)]
