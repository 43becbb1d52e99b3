"""The typed values cover Triton's schema, and loading it costs no client."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum
from typing import Any

from conch.core import DType
from conch.triton_configs import ModelConfig
from conch.triton_configs.mapping import Shape, members
from conch.triton_configs.schema import model_config_class


def _differences(mirrored: Any, descriptor: Any, path: str, seen: set[Any]) -> list[str]:
    """Compare a mirrored class with its message, and what hangs below both."""
    if mirrored in seen:
        return []
    seen.add(mirrored)
    have = {member.field: member for member in members(mirrored)}
    found = [f"{path}.{name}" for name in set(have) ^ set(descriptor.fields_by_name)]
    for name in set(have) & set(descriptor.fields_by_name):
        member, field, at = have[name], descriptor.fields_by_name[name], f"{path}.{name}"
        keyed = field.message_type is not None and field.message_type.GetOptions().map_entry
        if (member.shape is Shape.KEYED) != keyed or (
            not keyed and (member.shape is Shape.MANY) != field.is_repeated
        ):
            found.append(f"{at} is {member.shape}")
        if keyed:
            field = field.message_type.fields_by_name["value"]
        if member.nested:
            found += _differences(member.leaf, field.message_type, at, seen)
        elif isinstance(member.leaf, type) and issubclass(member.leaf, Enum):
            names = {value.name for value in field.enum_type.values} - {"TYPE_INVALID"}
            mine = {v.triton if isinstance(v, DType) else str(v.value) for v in member.leaf}
            found += [f"{at}: {name}" for name in names ^ mine]
    return found


def test_every_field_of_the_schema_is_typed() -> None:
    """No field, map, list or enumeration value of `ModelConfig` is missing or extra."""
    assert _differences(ModelConfig, model_config_class().DESCRIPTOR, "ModelConfig", set()) == []


def test_the_schema_loads_without_grpc_and_meets_the_client() -> None:
    """Neither gRPC nor the client's package is imported; a later import finds the same class."""
    script = """
import sys
from conch.triton_configs import parse
parse('name: "m"')
loaded = [name for name in sys.modules if name.split('.')[0] in ('grpc', 'tritonclient')]
assert not loaded, loaded
from conch.triton_configs.schema import model_config_class
from tritonclient.grpc import model_config_pb2
assert model_config_pb2.ModelConfig is model_config_class()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
