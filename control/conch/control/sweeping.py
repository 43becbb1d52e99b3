"""Following the registry: look at all of it, and write down what changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, assert_never

from conch.core import InvalidValueError, ModelName, Ordinal, triton_name

from .receiving import mark_followed
from .registry import (
    Change,
    ChangedModel,
    ChangedVersion,
    KnownModel,
    KnownVersion,
    NewModel,
    NewVersion,
    Orphaned,
    RegisteredVersion,
    Registry,
    Replaced,
    Returned,
    SweepPlan,
    TakeUp,
    TakeUpPolicy,
    diff,
    foreign,
)
from .state import Database, Model, Transaction, Version, VersionStatus, new_id

log = logging.getLogger(__name__)


class Sweeper:
    """Keeps conch's projection of the registry up to date.

    Args:
        guard: Raises within a transaction where this process may not act.

    Attributes:
        last: When the registry was last seen whole; None before the first time.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        policy: TakeUpPolicy,
        now: Callable[[], datetime],
        guard: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._policy = policy
        self._now = now
        self._guard = guard
        self._turn = threading.Lock()
        self.last: datetime | None = None

    def run(self) -> SweepPlan:
        """Look at the whole registry and record what changed.

        Raises:
            RegistryUnavailableError: MLflow is away; nothing was recorded, and nothing stops.
        """
        with self._turn:
            snapshot = self._registry.snapshot()
            with self._database.begin() as tx:
                self._guard(tx)
                plan = diff(
                    snapshot,
                    [_known_version(version) for version in tx.versions.find()],
                    self._policy,
                    models=[KnownModel(name=m.name, tags=_texts(m.tags)) for m in tx.models.find()],
                )
                for change in plan:
                    _record(tx, change, now=self._now())
                mark_followed(tx, seen=snapshot.taken_at, now=self._now())
            self.last = snapshot.taken_at
            return plan


def _known_version(version: Version) -> KnownVersion:
    return KnownVersion(
        name=version.name,
        number=version.version,
        identity=version.identity,
        tags=_texts(version.tags),
        aliases=version.aliases,
        present=version.present,
        taken_up=version.wanted,
    )


def _texts(tags: object) -> dict[str, str]:
    assert isinstance(tags, dict)
    return {str(key): str(value) for key, value in tags.items()}


def _record(tx: Transaction, change: Change, *, now: datetime) -> None:
    log.info("registry: %s", _told(change))
    match change:
        case NewModel(model=model):
            _add_model(tx, model.name, foreign(model.tags), now=now)
        case ChangedModel(model=model):
            known = tx.models.first(name=model.name)
            if known is not None:
                tx.models.change(known, tags=foreign(model.tags))
        case NewVersion(version=seen):
            _add_version(tx, seen)
        case ChangedVersion(version=seen) | Replaced(version=seen):
            version = tx.versions.first(name=seen.name, version=seen.number)
            if version is not None:
                tx.versions.change(version, **_news(change, seen, version))
        case Orphaned(name=name, number=number) | Returned(name=name, number=number):
            version = tx.versions.first(name=name, version=number)
            if version is not None:
                tx.versions.change(version, present=isinstance(change, Returned))
        case TakeUp(name=name, number=number):
            version = tx.versions.first(name=name, version=number)
            if version is not None:  # a model whose name no server can carry was passed over
                again = version.status is VersionStatus.REFUSED
                status = VersionStatus.REGISTERED if again else version.status
                tx.versions.change(version, wanted=True, status=status)
        case _:
            assert_never(change)


def _news(
    change: ChangedVersion | Replaced, seen: RegisteredVersion, version: Version
) -> dict[str, Any]:
    """Return the columns that a change of a known version writes."""
    marks: dict[str, Any] = {"tags": foreign(seen.tags), "aliases": seen.aliases}
    if isinstance(change, ChangedVersion):
        return marks
    fresh = _projected(seen, model_id=version.model_id, key=version.id)
    names = ("identity", "model_path", "created_at", "created_by")
    facts = {name: getattr(fresh, name) for name in names}
    return {
        **marks,
        **facts,
        "present": True,
        "wanted": False,
        "status": VersionStatus.REGISTERED,
        "reason": None,
        "semantic_version": None,
        "reported": {},
    }


def _told(change: Change) -> str:
    match change:
        case NewModel(model=model) | ChangedModel(model=model):
            what = model.name
        case NewVersion(version=seen) | ChangedVersion(version=seen) | Replaced(version=seen):
            what = f"{seen.name} version {seen.number}"
        case Orphaned() | Returned() | TakeUp():
            what = f"{change.name} version {change.number}"
    return f"{type(change).__name__} {what}"


def _add_model(tx: Transaction, name: str, tags: dict[str, str], *, now: datetime) -> Model | None:
    try:
        wire = triton_name(name)
    except InvalidValueError as error:
        log.warning("registry: %s", error)
        return None
    return tx.models.add(
        Model(
            id=new_id(),
            name=ModelName(name),
            triton_name=wire,
            next_ordinal=Ordinal(1),
            tags=tags,
            created_at=now,
        )
    )


def _add_version(tx: Transaction, seen: RegisteredVersion) -> None:
    model = tx.models.first(name=seen.name)
    if model is not None:
        tx.versions.add(_projected(seen, model_id=model.id, key=new_id()))


def _projected(seen: RegisteredVersion, *, model_id: str, key: str) -> Version:
    return Version(
        id=key,
        model_id=model_id,
        name=ModelName(seen.name),
        version=seen.number,
        model_path=seen.source,
        created_at=seen.created_at,
        created_by=seen.created_by,
        identity=seen.identity,
        tags=foreign(seen.tags),
        aliases=seen.aliases,
    )
