"""Checking a value against a Kubernetes structural schema.

Kubernetes does not validate with JSON Schema but with a dialect of it (apiextensions v1,
"Specifying a structural schema"): unknown fields are those outside `properties` unless a node says
`x-kubernetes-preserve-unknown-fields`, quantities are `x-kubernetes-int-or-string` with a pattern
that binds the string form only, lists may be maps with keys that default, and `nullable` stands
where JSON Schema has a type list. A general JSON Schema validator knows none of these words and
would need a translated schema, whose errors then speak of the translation; this one is small,
speaks in paths of the manifest, and is compared with such a validator in the tests.

CEL rules (`x-kubernetes-validations`) are not evaluated; the kinds that are linted here have none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]


class Fault(StrEnum):
    """What is wrong with a value; also the code of the finding."""

    UNKNOWN_FIELD = "schema-unknown-field"
    MISSING_FIELD = "schema-missing-field"
    WRONG_TYPE = "schema-wrong-type"
    BAD_VALUE = "schema-bad-value"
    DUPLICATE_ITEM = "schema-duplicate-item"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One place where a value breaks its schema.

    Attributes:
        fault: What is wrong.
        path: Where: field names and list indices from the root.
        message: In words, without the path.
        fix: What to write instead; empty where the schema does not say.
    """

    fault: Fault
    path: Path
    message: str
    fix: str = ""


def violations(value: object, schema: Schema, path: Path = ()) -> Iterator[Violation]:
    """Yield every place where `value` breaks `schema`, outermost first.

    Args:
        value: A value as read from JSON: None, bool, int, float, str, list or dict.
        schema: An `openAPIV3Schema` or a part of one.
        path: Where `value` stands in its document.
    """
    if value is None and schema.get("nullable"):
        return
    expected = _type_name(schema)
    if expected and not _TYPES[expected](value):
        yield Violation(
            fault=Fault.WRONG_TYPE,
            path=path,
            message=f"must be {_ARTICLES[expected]}, not {describe(value)}",
            fix=_quote_hint(expected, value),
        )
        return
    yield from _value_faults(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _array(value, schema, path)
    yield from _combinations(value, schema, path)


def render_path(path: Path) -> str:
    """Return a path as people write it.

    >>> render_path(("spec", "canary", 0, "predictor"))
    'spec.canary[0].predictor'
    >>> render_path(("metadata", "annotations", "a.b/c"))
    'metadata.annotations["a.b/c"]'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text


def describe(value: object) -> str:
    """Return a value's type and short form for a message."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{_KINDS[type(value)]} {text if len(text) <= 60 else text[:57] + '...'}"


def _object(value: dict[str, Any], schema: Schema, path: Path) -> Iterator[Violation]:
    properties: Schema = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Violation(
                fault=Fault.MISSING_FIELD, path=(*path, name), message="is required and missing"
            )
    extra = schema.get("additionalProperties")
    open_ended = extra is True or schema.get("x-kubernetes-preserve-unknown-fields")
    for name, item in value.items():
        if name in properties:
            yield from violations(item, properties[name], (*path, name))
        elif isinstance(extra, Mapping):
            yield from violations(item, extra, (*path, name))
        elif not open_ended:
            near = difflib.get_close_matches(name, properties, n=1, cutoff=0.75)
            yield Violation(
                fault=Fault.UNKNOWN_FIELD,
                path=(*path, name),
                message="is not a field of this version",
                fix=f"Did you mean {near[0]!r}?" if near else "Remove it.",
            )


def _array(value: list[Any], schema: Schema, path: Path) -> Iterator[Violation]:
    items = schema.get("items")
    if isinstance(items, Mapping):
        for index, item in enumerate(value):
            yield from violations(item, items, (*path, index))
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("map", "set"):
        return
    seen: list[object] = []
    for index, item in enumerate(value):
        key = _list_key(item, schema, items if isinstance(items, Mapping) else {})
        if key in seen:
            yield Violation(
                fault=Fault.DUPLICATE_ITEM,
                path=(*path, index),
                message=f"repeats the key {key!r} of an earlier item",
            )
        seen.append(key)


def _list_key(item: object, schema: Schema, items: Schema) -> object:
    """Return what identifies an item of a list that is a set or a map; keys may have defaults."""
    keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys", ())
    if not keys or not isinstance(item, dict):
        return item
    properties: Schema = items.get("properties", {})
    return {key: item.get(key, properties.get(key, {}).get("default")) for key in keys}


def _combinations(value: object, schema: Schema, path: Path) -> Iterator[Violation]:
    """Check `allOf`, `anyOf`, `oneOf` and `not`, which never declare fields of their own."""

    def fits(part: Schema) -> bool:
        return all(v.fault is Fault.UNKNOWN_FIELD for v in violations(value, part, path))

    for part in schema.get("allOf", ()):
        for fault in violations(value, part, path):
            if fault.fault is not Fault.UNKNOWN_FIELD:
                yield fault
    matching = [name for name in ("anyOf", "oneOf") if name in schema]
    for name in matching:
        count = sum(fits(part) for part in schema[name])
        if count == 0 or (name == "oneOf" and count > 1):
            few = "none" if count == 0 else "more than one"
            yield Violation(
                fault=Fault.BAD_VALUE, path=path, message=f"fits {few} of the allowed forms"
            )
    if "not" in schema and fits(schema["not"]):
        yield Violation(fault=Fault.BAD_VALUE, path=path, message="has a form that is forbidden")


def _value_faults(value: object, schema: Schema, path: Path) -> Iterator[Violation]:
    for message in _complaints(value, schema):
        yield Violation(fault=Fault.BAD_VALUE, path=path, message=message)


def _complaints(value: object, schema: Schema) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(repr(item) for item in schema["enum"])
        yield f"is {describe(value)}; allowed are {allowed}"
    if isinstance(value, str):
        yield from _size_complaints(len(value), schema, "minLength", "maxLength", "characters")
        pattern = schema.get("pattern")
        if pattern and not _compiled(pattern).search(value):
            yield f"is {value!r}, which does not match {pattern}"
        if schema.get("format") == "date-time" and not _is_time(value):
            yield f"is {value!r}, not a time as of RFC 3339"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_complaints(value, schema)
    elif isinstance(value, list):
        yield from _size_complaints(len(value), schema, "minItems", "maxItems", "items")
        if schema.get("uniqueItems") and any(item in value[:i] for i, item in enumerate(value)):
            yield "holds an item twice"
    elif isinstance(value, dict):
        yield from _size_complaints(len(value), schema, "minProperties", "maxProperties", "fields")


def _size_complaints(size: int, schema: Schema, low: str, high: str, unit: str) -> Iterator[str]:
    if low in schema and size < schema[low]:
        yield f"has {size} {unit}; at least {schema[low]} are needed"
    if high in schema and size > schema[high]:
        yield f"has {size} {unit}; at most {schema[high]} are allowed"


def _number_complaints(value: float, schema: Schema) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (value == low and schema.get("exclusiveMinimum"))):
        yield f"is {value}; the least allowed is {low}"
    if high is not None and (value > high or (value == high and schema.get("exclusiveMaximum"))):
        yield f"is {value}; the most allowed is {high}"
    step = schema.get("multipleOf")
    if step and value % step:
        yield f"is {value}, not a multiple of {step}"
    bits = _BITS.get(schema.get("format", ""))
    if bits and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        yield f"is {value}, outside the range of a {bits}-bit integer"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Go's `$` matches only at the very end of the text; Python's also before a final newline.
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern))


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False


def _type_name(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    name = schema.get("type", "")
    return name if name in _TYPES else ""


def _is_integer(value: object) -> bool:
    # YAML's `1.0` reaches the API server as 1, since JSON does not tell them apart.
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _quote_hint(expected: str, value: object) -> str:
    if expected == "string" and isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else str(value)
        return f'Put it in quotes: "{written}".'
    return ""


_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "int-or-string": lambda value: _is_integer(value) or isinstance(value, str),
}
_ARTICLES = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "an object",
    "array": "a list",
    "int-or-string": "an integer or a string",
}
_KINDS = {str: "the string", bool: "the boolean", int: "the number", float: "the number"}
_BITS = {"int32": 32, "int64": 64}
