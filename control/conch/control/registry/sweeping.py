"""The sweep: what the registry shows, less what conch knows, as a list of changes.

Events get lost and timestamps do not move when tags and aliases do, so the only certain way to
follow a registry is to list it whole and compare. The comparison is a pure function. Carrying out
its plan and comparing again gives an empty plan.

Absence is weak evidence: a registry restored from an old backup, or pointed at an empty database,
shows nothing. What is gone is therefore *orphaned*, which takes nothing out of service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .policies import TakeUpMode, TakeUpPolicy
from .registered import (
    OWN_PREFIX,
    READY,
    RegisteredModel,
    RegisteredVersion,
    RegistrySnapshot,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A registered model as conch last saw it."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersion:
    """A registered version as conch last saw it.

    Attributes:
        identity: `RegisteredVersion.identity` at that time.
        present: Whether the last sweep saw it.
        taken_up: Whether policy wanted it at some time since it was registered.
    """

    name: str
    number: int
    identity: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    present: bool = True
    taken_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A name that conch has not seen."""

    model: RegisteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedModel:
    """A registered model whose tags are others."""

    model: RegisteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version that conch has not seen; it is known from now on, and present."""

    version: RegisteredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedVersion:
    """A version whose tags or aliases are others."""

    version: RegisteredVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """Another version under a known number: present, not yet taken up, with these marks.

    Attributes:
        previous_identity: The identity of the version that had the number before.
    """

    version: RegisteredVersion
    previous_identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphaned:
    """A version that the registry no longer shows; it stays in service."""

    name: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """An orphaned version that the registry shows again, unchanged in identity."""

    name: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeUp:
    """Policy wants a version, or wants it again after it had let it go.

    Attributes:
        why: The part of the policy that wants it, in words.
    """

    name: str
    number: int
    why: str


Change = (
    NewModel | ChangedModel | NewVersion | ChangedVersion | Replaced | Orphaned | Returned | TakeUp
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Changes in the order in which to carry them out."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)


def diff(
    snapshot: RegistrySnapshot,
    known: Sequence[KnownVersion],
    policy: TakeUpPolicy,
    *,
    models: Sequence[KnownModel] = (),
) -> SweepPlan:
    """Return what to change in what conch knows, and which versions to take up.

    The order of the arguments' items does not matter.

    Args:
        snapshot: What the registry shows.
        known: Every version that conch knows, also those that are gone.
        policy: Which versions are wanted.
        models: Every model that conch knows; the names in `known` count as known without it, but
            then a changed tag of a model goes unseen.
    """
    seen = {(version.name, version.number): version for version in snapshot.versions}
    before = {(version.name, version.number): version for version in known}
    changes: list[Change] = [*_of_models(snapshot, known, models)]
    for key in sorted(seen.keys() | before.keys()):
        changes += _of_version(seen.get(key), before.get(key))
    changes += _take_ups(seen.values(), before, policy)
    return SweepPlan(changes=tuple(changes))


def foreign(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that somebody else set."""
    return {key: value for key, value in tags.items() if not key.startswith(OWN_PREFIX)}


def _of_models(
    snapshot: RegistrySnapshot, known: Sequence[KnownVersion], models: Sequence[KnownModel]
) -> Iterator[Change]:
    recorded = {model.name: model for model in models}
    names = recorded.keys() | {version.name for version in known}
    for model in sorted(snapshot.models, key=lambda model: model.name):
        if model.name not in names:
            yield NewModel(model=model)
        elif model.name in recorded and foreign(recorded[model.name].tags) != foreign(model.tags):
            yield ChangedModel(model=model)


def _of_version(seen: RegisteredVersion | None, before: KnownVersion | None) -> Iterator[Change]:
    if seen is None:
        if before is not None and before.present:
            yield Orphaned(name=before.name, number=before.number)
        return
    if before is None:
        yield NewVersion(version=seen)
        return
    if before.identity != seen.identity:
        yield Replaced(version=seen, previous_identity=before.identity)
        return
    if not before.present:
        yield Returned(name=seen.name, number=seen.number)
    if foreign(before.tags) != foreign(seen.tags) or set(before.aliases) != set(seen.aliases):
        yield ChangedVersion(version=seen)


def _take_ups(
    seen: Iterable[RegisteredVersion],
    before: Mapping[tuple[str, int], KnownVersion],
    policy: TakeUpPolicy,
) -> Iterator[TakeUp]:
    """Yield the versions that policy newly points at, by name and number.

    Under `alias` and `tag` a mark that comes back to an old version counts anew: that is how a
    person goes back to it from the registry.
    """
    ready: defaultdict[str, list[RegisteredVersion]] = defaultdict(list)
    for version in seen:
        if version.status == READY and policy.covers(version.name):
            ready[version.name].append(version)
    for name in sorted(ready):
        versions = sorted(ready[name], key=lambda version: version.number)
        same = {v.number: _same(v, before.get((name, v.number))) for v in versions}
        taken = [number for number, old in same.items() if old is not None and old.taken_up]
        if policy.mode is TakeUpMode.ALL:
            candidates = versions if taken else versions[-1:]
            versions = [v for v in candidates if v.number > max(taken, default=0)]
        for version in versions:
            old = same[version.number]
            why = policy.reason(version.tags, version.aliases)
            had = old is not None and old.taken_up and policy.reason(old.tags, old.aliases)
            if why and not had:
                yield TakeUp(name=name, number=version.number, why=why)


def _same(seen: RegisteredVersion, before: KnownVersion | None) -> KnownVersion | None:
    """Return what conch knows of the very version that the registry shows."""
    return before if before is not None and before.identity == seen.identity else None
