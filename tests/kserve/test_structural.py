"""The structural-schema validator, against its description and against an independent oracle."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from conch.kserve.schemas import schemas_of
from conch.kserve.structural import Fault, Schema, violations
from conch.kserve.versions import KServeVersion

DATA = Path(__file__).parent / "data"
SERVICE = schemas_of(KServeVersion.V0_20).kinds["InferenceService"]["serving.kserve.io/v1beta1"]
OPEN: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
QUANTITY: Schema = {
    "x-kubernetes-int-or-string": True,
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": r"^[0-9]+(Mi)?$",
}


@pytest.mark.parametrize(
    ("value", "schema", "faults"),
    [
        ({"a": 1}, {"type": "object", "properties": {"b": {}}}, [Fault.UNKNOWN_FIELD]),
        ({"a": 1}, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, []),
        ({"a": 1}, {"type": "object", "additionalProperties": {"type": "string"}}, ["wrong"]),
        ({}, {"type": "object", "required": ["a"]}, [Fault.MISSING_FIELD]),
        (5, QUANTITY, []),
        ("5Mi", QUANTITY, []),
        ("5 Mi", QUANTITY, [Fault.BAD_VALUE]),
        ("5Mi\n", QUANTITY, [Fault.BAD_VALUE]),
        (True, QUANTITY, [Fault.WRONG_TYPE]),
        (1.0, {"type": "integer"}, []),
        (1.5, {"type": "integer"}, [Fault.WRONG_TYPE]),
        (True, {"type": "integer"}, [Fault.WRONG_TYPE]),
        (2**31, {"type": "integer", "format": "int32"}, [Fault.BAD_VALUE]),
        (None, {"type": "string"}, [Fault.WRONG_TYPE]),
        (None, {"type": "string", "nullable": True}, []),
        ("a", {"type": "string", "enum": ["b"]}, [Fault.BAD_VALUE]),
        ("2026-01-02T03:04:05Z", {"type": "string", "format": "date-time"}, []),
        ("yesterday", {"type": "string", "format": "date-time"}, [Fault.BAD_VALUE]),
        ([1, 1], {"type": "array", "x-kubernetes-list-type": "set"}, [Fault.DUPLICATE_ITEM]),
        (3, {"type": "integer", "minimum": 3, "exclusiveMinimum": True}, [Fault.BAD_VALUE]),
        (5, {"type": "integer", "maximum": 4}, [Fault.BAD_VALUE]),
        (5, {"type": "integer", "multipleOf": 2}, [Fault.BAD_VALUE]),
        ([1, 1], {"type": "array", "uniqueItems": True}, [Fault.BAD_VALUE]),
        ("abc", {"type": "string", "maxLength": 2}, [Fault.BAD_VALUE]),
        ({"a": 1}, {**OPEN, "allOf": [{"required": ["b"]}]}, [Fault.MISSING_FIELD]),
        ({"a": 1}, {**OPEN, "anyOf": [{"required": ["b"]}, {"required": ["a"]}]}, []),
        ({"a": 1}, {**OPEN, "oneOf": [{"required": ["b"]}]}, [Fault.BAD_VALUE]),
        ({"a": 1}, {**OPEN, "oneOf": [{"required": ["a"]}, {"type": "object"}]}, [Fault.BAD_VALUE]),
        ([], {"type": "array", "minItems": 1}, [Fault.BAD_VALUE]),
        (
            {"a": 1},
            {"type": "object", "properties": {"a": {}}, "not": {"required": ["a"]}},
            ["not"],
        ),
    ],
)
def test_the_words_of_structural_schemas(value: object, schema: Schema, faults: list[Any]) -> None:
    """Each word of a structural schema means what Kubernetes documents."""
    found = [violation.fault for violation in violations(value, schema)]
    assert len(found) == len(faults)
    assert all(fault in found for fault in faults if isinstance(fault, Fault))


def test_keys_of_a_list_map_default() -> None:
    """Two ports that differ only by a written default are one port twice."""
    schema = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {
            "type": "object",
            "properties": {"port": {"type": "integer"}, "protocol": {"default": "TCP"}},
        },
    }
    found = list(violations([{"port": 1}, {"port": 1, "protocol": "TCP"}], schema))
    assert [(v.fault, v.path) for v in found] == [(Fault.DUPLICATE_ITEM, (1,))]


def test_a_misspelt_field_names_its_neighbour() -> None:
    """The fix of an unknown field is the field that was probably meant."""
    body = {"spec": {"predictor": {"minReplica": 1}}}
    found = [v for v in violations(body, SERVICE) if v.fault is Fault.UNKNOWN_FIELD]
    assert [(v.path, v.fix) for v in found] == [
        (("spec", "predictor", "minReplica"), "Did you mean 'minReplicas'?")
    ]


def services() -> list[dict[str, Any]]:
    """Return the InferenceServices among KServe's own samples."""
    loaded = (
        document
        for path in sorted((DATA / "samples").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    )
    return [
        document
        for document in loaded
        if document
        and document["kind"] == "InferenceService"
        and document["apiVersion"] == "serving.kserve.io/v1beta1"
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything below a value."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        children = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path, *(p for key, item in children for p in places(item, (*path, key)))]


def as_json_schema(schema: Schema) -> dict[str, Any]:
    """Translate a structural schema for a general JSON Schema validator."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], "pattern": schema.get("pattern", "")}
    known = ("enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "required")
    out: dict[str, Any] = {word: schema[word] for word in (*known, "minItems") if word in schema}
    if "type" in schema:
        out["type"] = [schema["type"], "null"] if schema.get("nullable") else schema["type"]
    if "items" in schema:
        out["items"] = as_json_schema(schema["items"])
    out["properties"] = {n: as_json_schema(s) for n, s in schema.get("properties", {}).items()}
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        out["additionalProperties"] = as_json_schema(extra)
    elif schema.get("type") == "object":
        out["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return out


ORACLE = Draft202012Validator(as_json_schema(SERVICE))
SAMPLES = services()
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200),
    st.sampled_from(["", "1", "a", "8Gi", "8 GB", "all", "TCP", "Value"]),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: {"name": "x"}),
)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_verdict_is_that_of_a_general_validator(data: st.DataObject) -> None:
    """On mutated samples, accept and refuse agree with `jsonschema` on the translated schema."""
    body = deepcopy(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(0, 2))):
        path = data.draw(st.sampled_from([p for p in places(body) if p]))
        parent = body
        for part in path[:-1]:
            parent = parent[part]
        if isinstance(parent, dict) and data.draw(st.booleans()):
            parent[data.draw(st.sampled_from([path[-1], "minReplicas", "other"]))] = data.draw(
                VALUES
            )
        else:
            del parent[path[-1]]
    mine = [v for v in violations(body, SERVICE) if v.fault is not Fault.DUPLICATE_ITEM]
    theirs = list(ORACLE.iter_errors(json.loads(json.dumps(body))))
    assert bool(mine) == bool(theirs), (mine[:2], [error.message for error in theirs[:2]])
