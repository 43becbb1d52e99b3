"""What to do so that a cluster holds what is intended: a pure function of what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cluster.resources import CONFIG_MAP, OWNED, Key, Object
from .differing import Difference, differences, render_differences
from .ownership import HASH_ANNOTATION, is_labelled, is_owned, stamped


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make an object that does not exist."""

    body: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Make an object be as intended."""

    body: Object
    changes: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete an object of conch's that is no longer intended."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """An object of that name is somebody else's; nothing is done to it."""

    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an apply does, in its order. What is shown is what is applied.

    Attributes:
        writes: Creations and updates, those first that others need.
        removals: What goes, in the opposite order.
        foreign: Names that somebody else has taken; a plan with any is not applied.
        kept: How many objects are as they should be.
    """

    writes: tuple[Create | Update, ...]
    removals: tuple[Remove, ...]
    foreign: tuple[Foreign, ...]
    kept: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.writes or self.removals or self.foreign)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form for `--output json`."""
        return {
            "create": [str(Key.of(w.body)) for w in self.writes if isinstance(w, Create)],
            "update": [
                {"object": str(Key.of(w.body)), "changes": [str(change) for change in w.changes]}
                for w in self.writes
                if isinstance(w, Update)
            ],
            "remove": [str(each.key) for each in self.removals],
            "foreign": [str(each.key) for each in self.foreign],
            "kept": self.kept,
        }

    def render(self) -> str:
        """Return the plan as text for people."""
        lines = []
        for write in self.writes:
            key = Key.of(write.body)
            if isinstance(write, Create):
                lines.append(f"create {key}")
            else:
                lines.append(f"update {render_differences(key, write.changes)}")
        lines += [f"remove {each.key}" for each in self.removals]
        lines += [f"blocked {each.key}: it exists and is not conch's" for each in self.foreign]
        lines.append(f"{self.kept} object(s) are as they should be.")
        return "\n".join(lines)


def decide(intended: Iterable[Object], found: Mapping[Key, Object], *, adopt: bool = False) -> Plan:
    """Return what to do.

    Args:
        intended: Every object that should be there.
        found: What is there: objects of the intended names, and whatever else might be conch's
            and in its place, with managed fields.
        adopt: Whether objects of others with an intended name are taken over.
    """
    wanted = {Key.of(body): body for body in intended}
    writes: list[Create | Update] = []
    foreign: list[Foreign] = []
    kept = 0
    for key, body in sorted(wanted.items(), key=lambda item: _order(item[0])):
        there = found.get(key)
        marked = stamped(body)
        if there is None:
            writes.append(Create(body=marked))
        elif not is_labelled(there) and not adopt:
            foreign.append(Foreign(key=key))
        else:
            changes = differences(marked, there)
            if changes or _hash(there) != _hash(marked):
                writes.append(Update(body=marked, changes=changes))
            else:
                kept += 1
    gone = [
        Remove(key=key, uid=str(body["metadata"].get("uid", "")))
        for key, body in found.items()
        if key not in wanted and is_owned(body) and not _leaving(body)
    ]
    return Plan(
        writes=tuple(writes),
        removals=tuple(sorted(gone, key=lambda each: _parting(each.key), reverse=True)),
        foreign=tuple(foreign),
        kept=kept,
    )


def unused_runtimes(runtimes: Sequence[Object], services: Sequence[Object]) -> tuple[Object, ...]:
    """Return the runtimes of a namespace that no InferenceService there names, whoever made it."""
    named = {
        (service.get("spec", {}).get("predictor", {}).get("model") or {}).get("runtime")
        for service in services
    }
    return tuple(body for body in runtimes if body["metadata"]["name"] not in named)


def _order(key: Key) -> tuple[int, Key]:
    places = {(each.api_version, each.kind): number for number, each in enumerate(OWNED)}
    return places.get((key.api_version, key.kind), len(places)), key


def _parting(key: Key) -> tuple[bool, tuple[int, Key]]:
    """The reverse order of removals: what is meant goes last, so that no rest is left unowned."""
    return key.kind != CONFIG_MAP.kind, _order(key)


def _hash(body: Object) -> str:
    return str((body["metadata"].get("annotations") or {}).get(HASH_ANNOTATION, ""))


def _leaving(body: Object) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))
