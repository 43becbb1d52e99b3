"""Typed values to and from protobuf messages, member by member, without a table.

A dataclass of this part has the field names of its message (`global_` stands for `global`). Its
type hints say the rest: `tuple[X, ...]` is a repeated field, `Mapping[K, X]` a map, `X | None` a
field whose absence means something, and a scalar where the schema has a message of one field
(`parameters`) stands for that field.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from conch.core import DType

from .errors import ConfigValueError


class Shape(StrEnum):
    """How many values a member holds."""

    ONE = "one"
    MAYBE = "maybe"
    MANY = "many"
    KEYED = "keyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One field of a mirrored message.

    Attributes:
        name: The attribute of the dataclass.
        field: The field of the message.
        shape: How many values.
        leaf: The type of one value: a mirrored dataclass, an enumeration or a scalar.
    """

    name: str
    field: str
    shape: Shape
    leaf: type[Any]

    @property
    def nested(self) -> bool:
        """Whether a value is itself a mirrored message."""
        return is_dataclass(self.leaf)


def members(mirrored: Any) -> tuple[Member, ...]:
    """Return the members of a mirrored dataclass, a class, in their order."""
    return _members(mirrored)


def fill(message: Any, value: Any, *, path: str = "") -> None:
    """Write a mirrored dataclass into an empty message.

    Raises:
        ConfigValueError: A value does not fit its field, two members of a choice are set, or the
            installed schema lacks a field.
    """
    known = message.DESCRIPTOR.fields_by_name
    _refuse_double_choice(message, value, path)
    for member in members(type(value)):
        content = getattr(value, member.name)
        at = f"{path}.{member.field}" if path else member.field
        if content is None or (member.shape in (Shape.MANY, Shape.KEYED) and not content):
            continue
        if member.field not in known:
            raise ConfigValueError(
                f"The installed Triton schema has no field {at!r}.",
                hint="Install a newer tritonclient.",
                path=at,
            )
        try:
            _put(message, member, known[member.field], content, at)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ConfigValueError(
                f"{at} cannot hold {content!r}: {error}.",
                hint="See the field's type in Triton's model_config.proto.",
                path=at,
            ) from error


def read(mirrored: type[Any], message: Any, *, path: str = "") -> Any:
    """Return the mirrored dataclass for a message; the inverse of `fill`.

    Raises:
        ConfigValueError: An enumeration has a number without a name.
    """
    known = message.DESCRIPTOR.fields_by_name
    found: dict[str, Any] = {}
    for member in members(mirrored):
        if member.field not in known:
            continue
        schema = known[member.field]
        if (
            member.shape is Shape.MAYBE
            and _has_presence(schema)
            and not message.HasField(schema.name)
        ):
            continue
        at = f"{path}.{member.field}" if path else member.field
        found[member.name] = _take(message, member, schema, at)
    return mirrored(**found)


@cache
def _members(mirrored: Any) -> tuple[Member, ...]:
    hints = get_type_hints(mirrored)
    return tuple(_member(field.name, hints[field.name]) for field in fields(mirrored))


def _member(name: str, hint: Any) -> Member:
    shape, leaf = Shape.ONE, hint
    if get_origin(hint) is tuple:
        shape, leaf = Shape.MANY, get_args(hint)[0]
    elif get_origin(hint) is Mapping:
        shape, leaf = Shape.KEYED, get_args(hint)[1]
    elif get_origin(hint) in (Union, types.UnionType):
        shape, leaf = Shape.MAYBE, next(arg for arg in get_args(hint) if arg is not type(None))
    return Member(name=name, field=name.rstrip("_"), shape=shape, leaf=leaf)


def _refuse_double_choice(message: Any, value: Any, path: str) -> None:
    for choice in message.DESCRIPTOR.oneofs:
        named = [field.name for field in choice.fields]
        chosen = [
            member.field
            for member in members(type(value))
            if member.field in named and getattr(value, member.name) is not None
        ]
        if len(chosen) > 1:
            where = f"{path}: " if path else ""
            raise ConfigValueError(
                f"{where}{' and '.join(chosen)} exclude each other.",
                hint="Keep one of them.",
                path=".".join(filter(None, (path, chosen[-1]))),
            )


def _put(message: Any, member: Member, field: Any, content: Any, path: str) -> None:
    if member.shape is Shape.KEYED:
        _put_keyed(getattr(message, member.field), member, field, content, path)
    elif member.shape is Shape.MANY and member.nested:
        for index, item in enumerate(content):
            fill(getattr(message, member.field).add(), item, path=f"{path}[{index}]")
    elif member.shape is Shape.MANY:
        getattr(message, member.field).extend(content)
    elif member.nested:
        getattr(message, member.field).SetInParent()
        fill(getattr(message, member.field), content, path=path)
    elif field.enum_type is not None:
        setattr(message, member.field, field.enum_type.values_by_name[_label(content)].number)
    else:
        setattr(message, member.field, content)


def _put_keyed(target: Any, member: Member, field: Any, content: Any, path: str) -> None:
    wrapper = field.message_type.fields_by_name["value"].message_type
    for key, item in content.items():
        if member.nested:
            target.get_or_create(key)
            fill(target[key], item, path=f"{path}[{key!r}]")
        elif wrapper is not None:
            setattr(target[key], wrapper.fields[0].name, item)
        else:
            target[key] = item


def _take(message: Any, member: Member, field: Any, path: str) -> Any:
    content = getattr(message, member.field)
    if member.shape is Shape.KEYED:
        wrapper = field.message_type.fields_by_name["value"].message_type
        if member.nested:
            return {k: read(member.leaf, content[k], path=f"{path}[{k!r}]") for k in content}
        if wrapper is not None:
            return {key: getattr(content[key], wrapper.fields[0].name) for key in content}
        return dict(content)
    if member.shape is Shape.MANY:
        if member.nested:
            items = enumerate(content)
            return tuple(read(member.leaf, item, path=f"{path}[{i}]") for i, item in items)
        return tuple(_number(field, item) for item in content)
    if member.nested:
        return read(member.leaf, content, path=path)
    if field.enum_type is not None:
        return _named(member.leaf, field, content, path)
    return _number(field, content)


def _named(leaf: type[Any], field: Any, number: int, path: str) -> Any:
    value = field.enum_type.values_by_number.get(number)
    if value is None:
        raise ConfigValueError(
            f"{path} is {number}, which {field.enum_type.full_name} does not name.", path=path
        )
    if leaf is DType:
        return None if number == 0 else DType.from_triton(value.name)
    return leaf(value.name)


def _label(content: Enum) -> str:
    return content.triton if isinstance(content, DType) else str(content.value)


def _has_presence(field: Any) -> bool:
    return field.message_type is not None or field.containing_oneof is not None


def _number(field: Any, value: Any) -> Any:
    """Return the shortest decimal for a float32, so that 0.1 in the text is 0.1 here."""
    return float(str(np.float32(value))) if field.type == field.TYPE_FLOAT else value
