"""How an object on the cluster differs from what conch means it to be, for people.

Only what conch states is compared: defaults and the fields of others are no drift. A field that
conch stated earlier and no longer does is known from the managed fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..cluster.ports import MANAGER
from ..cluster.resources import Key, Object
from ..structural import Path, render_path
from .ownership import HASH_ANNOTATION

_ABSENT: Final = object()
_IDENTITY: Final = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field that is not as it should be.

    Attributes:
        path: Where.
        found: What is there; None with `absent` where nothing is.
        wanted: What should be; None with `surplus` where nothing should.
        absent: The field is missing.
        surplus: The field should go.
        manager: Who set it last, where the cluster knows and it was not conch.
    """

    path: str
    found: Any = None
    wanted: Any = None
    absent: bool = False
    surplus: bool = False
    manager: str = ""

    def __str__(self) -> str:
        by = f"  (set by {self.manager})" if self.manager else ""
        if self.absent:
            return f"+ {self.path}: {_short(self.wanted)}"
        if self.surplus:
            return f"- {self.path}: {_short(self.found)}{by}"
        return f"~ {self.path}: {_short(self.found)} -> {_short(self.wanted)}{by}"


def differences(wanted: Object, found: Object) -> tuple[Difference, ...]:
    """Return how an object as found differs from what it should be, by field.

    Args:
        wanted: The whole intent.
        found: The object; read with managed fields where removed fields are to be noticed.
    """
    managed = found["metadata"].get("managedFields") or ()
    changed = list(_compare(wanted, found, (), managed))
    for path in _own(managed):
        if path not in _IDENTITY and _at(wanted, path) is _ABSENT:
            value = _at(found, path)
            if value is not _ABSENT:
                changed.append(Difference(path=render_path(path), found=value, surplus=True))
    return tuple(changed)


def render_differences(key: Key, found: Sequence[Difference]) -> str:
    """Return the differences of one object as text."""
    return "\n".join([str(key), *(f"  {each}" for each in found)])


def _compare(
    wanted: Any, found: Any, path: Path, managed: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, value in wanted.items():
            here = (*path, name)
            if here == ("metadata", "annotations", HASH_ANNOTATION):
                continue  # it says that something differs, and the rest of the list says what
            if name not in found:
                if value not in ({}, []):
                    yield Difference(path=render_path(here), wanted=value, absent=True)
            else:
                yield from _compare(value, found[name], here, managed)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _compare(one, other, (*path, index), managed)
    elif wanted != found:
        yield Difference(
            path=render_path(path), found=found, wanted=wanted, manager=_setter(managed, path)
        )


def _setter(managed: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Return another manager that owns a field, or the nearest one around it that is told."""
    best, longest = "", 0
    for each in managed:
        fields, depth = each.get("fieldsV1") or {}, 0
        for step in path:
            key = f"f:{step}"
            if not isinstance(fields, Mapping) or key not in fields:
                break
            fields, depth = fields[key], depth + 1
        if depth > longest and each.get("manager") != MANAGER:
            best, longest = str(each.get("manager")), depth
    return best


def _own(managed: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """Yield the fields that conch's last apply stated, down to lists."""
    for each in managed:
        if each.get("manager") == MANAGER and each.get("operation") == "Apply":
            yield from _leaves(each.get("fieldsV1") or {}, ())


def _leaves(fields: Mapping[str, Any], path: Path) -> Iterator[Path]:
    below = {name: value for name, value in fields.items() if name.startswith("f:")}
    if not below and path:
        yield path
    for name, value in below.items():
        yield from _leaves(value, (*path, name.removeprefix("f:")))


def _at(body: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(body, Mapping) or step not in body:
            return _ABSENT
        body = body[step]
    return body


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
