"""Plans, evidence and decisions as JSON, and decisions replayed from their record."""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .deciding import Decision, decide
from .errors import EvidenceError
from .evidence import Evidence
from .plans import ReleasePlan

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """Everything needed to take a decision again.

    Attributes:
        plan: The plan.
        evidence: The evidence.
        now_s: The present, then.
        decision: What was decided.
    """

    plan: ReleasePlan
    evidence: Evidence
    now_s: float
    decision: Decision


def record_of(plan: ReleasePlan, evidence: Evidence, now_s: float) -> DecisionRecord:
    """Take a decision and return it with what it was taken from."""
    return DecisionRecord(
        plan=plan, evidence=evidence, now_s=now_s, decision=decide(plan, evidence, now_s)
    )


def replays(record: DecisionRecord) -> bool:
    """Take a recorded decision again and tell whether it comes out the same, to the last bit."""
    again = decide(record.plan, record.evidence, record.now_s)
    return canonical_json(again) == canonical_json(record.decision)


def as_json(value: object) -> Any:
    """Return a value of this part as JSON-compatible objects; `from_json` reads it back.

    Infinities become the strings "inf" and "-inf", since JSON has none.
    """
    if is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        return {
            item.name: _number(hints[item.name], getattr(value, item.name))
            for item in fields(value)
        }
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | int | float):
        return value
    raise EvidenceError(f"A {type(value).__name__} has no JSON form here.")


def from_json(kind: type[T], value: object) -> T:
    """Read what `as_json` wrote; keys left out take their defaults.

    Raises:
        EvidenceError: A key is unknown or missing, or a value has another type.
    """
    found: T = _read(kind, value)
    return found


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, shortest exact floats."""
    return json.dumps(as_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _number(kind: Any, value: object) -> Any:
    """Return a field's JSON form; whole numbers in fields of floats are written as floats."""
    if isinstance(value, int) and not isinstance(value, bool) and kind in (float, float | None):
        value = float(value)
    return as_json(value)


@lru_cache(maxsize=128)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: object) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(kind), value)
    if origin is tuple:
        if not isinstance(value, list):
            raise EvidenceError(f"A list was expected, not {type(value).__name__}.")
        return tuple(_read(get_args(kind)[0], item) for item in value)
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value)
    if kind is float:
        if value in ("inf", "-inf") or (
            isinstance(value, int | float) and not isinstance(value, bool)
        ):
            return float(value)
    elif isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError as error:
            raise EvidenceError(f"{value!r} is no {kind.__name__}.") from error
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise EvidenceError(f"{value!r} is not of type {getattr(kind, '__name__', kind)}.")


def _read_union(kinds: tuple[Any, ...], value: object) -> Any:
    """Read a member of a union: None, or the class whose fields are the keys, or the first fit."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if isinstance(value, Mapping):
        for kind in kinds:
            if is_dataclass(kind) and {item.name for item in fields(kind)} == set(value):
                return _read(kind, value)
        raise EvidenceError(f"No known statistic has the fields {sorted(value)}.")
    return _read(kinds[0], value)


def _read_dataclass(kind: type, value: object) -> Any:
    if not isinstance(value, Mapping):
        raise EvidenceError(f"{kind.__name__} was expected, not {type(value).__name__}.")
    hints = _hints(kind)
    known = [item.name for item in fields(kind)]
    if unknown := sorted(set(value) - set(known)):
        raise EvidenceError(f"{kind.__name__} has no field {', '.join(unknown)}.")
    try:
        return kind(**{name: _read(hints[name], value[name]) for name in known if name in value})
    except TypeError as error:
        raise EvidenceError(f"{kind.__name__} lacks a field: {error}.") from error
