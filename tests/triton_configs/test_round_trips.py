"""Any configuration that the schema can hold survives the text, and any spelling of the text."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

import numpy as np
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conch.triton_configs import ModelConfig, parse, render
from conch.triton_configs.mapping import Member, Shape, fill, members
from conch.triton_configs.schema import model_config_class

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
SEVERAL = 3


@st.composite
def mirrored(draw: st.DrawFn, cls: type[Any], descriptor: Any) -> Any:
    """Draw a mirrored dataclass with a few of its members set, one of a choice at most."""
    if not members(cls):  # `AllVersions` says it by being there
        return cls()
    chosen = draw(st.lists(st.sampled_from(members(cls)), max_size=SEVERAL, unique=True))
    taken: set[str] = set()
    values: dict[str, Any] = {}
    for member in chosen:
        field = descriptor.fields_by_name[member.field]
        choice = field.containing_oneof
        if choice is not None:
            if choice.name in taken:
                continue
            taken.add(choice.name)
        values[member.name] = draw(_content(member, field))
    return cls(**values)


def _content(member: Member, field: Any) -> st.SearchStrategy[Any]:
    if member.shape is Shape.KEYED:
        entry = field.message_type.fields_by_name
        values = _one(member, entry["value"])
        return st.dictionaries(_scalar(entry["key"]), values, max_size=SEVERAL)
    if member.shape is Shape.MANY:
        return st.lists(_one(member, field), max_size=SEVERAL).map(tuple)
    return _one(member, field)


def _one(member: Member, field: Any) -> st.SearchStrategy[Any]:
    if member.nested:
        return mirrored(member.leaf, field.message_type)
    if issubclass(member.leaf, Enum):
        return st.sampled_from(member.leaf)
    if field.message_type is not None:  # a wrapper of one field
        return _scalar(field.message_type.fields[0])
    return _scalar(field)


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    kinds: dict[int, st.SearchStrategy[Any]] = {
        field.TYPE_STRING: TEXTS,
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.TYPE_UINT32: st.integers(0, 2**32 - 1),
        field.TYPE_UINT64: st.integers(0, 2**64 - 1),
        field.TYPE_DOUBLE: st.floats(allow_nan=False),
        field.TYPE_FLOAT: st.floats(allow_nan=False, width=32).map(
            lambda value: float(str(np.float32(value)))
        ),
    }
    return kinds[field.type]


CONFIGS = mirrored(ModelConfig, model_config_class().DESCRIPTOR)
thorough = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(CONFIGS)
def test_config_text_config(config: ModelConfig) -> None:
    """What is rendered is read back equal, and rendered again it is the same text."""
    text = render(config)
    assert parse(text) == config
    assert render(parse(text)) == text


@thorough
@given(CONFIGS, st.booleans(), st.booleans(), st.booleans())
def test_any_spelling_is_the_same_config(
    config: ModelConfig, as_utf8: bool, short: bool, one_line: bool
) -> None:
    """Escapes, lists spelled out, one line or the order of field numbers change nothing."""
    message = model_config_class()()
    fill(message, config)
    text = text_format.MessageToString(
        message,
        as_utf8=as_utf8,
        use_short_repeated_primitives=short,
        as_one_line=one_line,
    )
    assert parse(text) == config


@thorough
@given(CONFIGS)
def test_nothing_is_lost_on_the_way_to_protobuf(config: ModelConfig) -> None:
    """A member that differs from its default is in the message, so nothing is dropped."""
    message = model_config_class()()
    fill(message, config)
    empty = ModelConfig()
    changed = {f.name for f in fields(config) if getattr(config, f.name) != getattr(empty, f.name)}
    assert {field.name for field, _ in message.ListFields()} == changed
