"""The API's description: valid, complete, with examples that fit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from memory_platform import MemoryPlatform

from conch.control.api import MEDIA_TYPE


@pytest.fixture(scope="module")
def schema(memory_platform: MemoryPlatform) -> dict[str, Any]:
    """The description as the server gives it."""
    found: dict[str, Any] = httpx.get(f"{memory_platform.url}/openapi.json").json()
    return found


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _contents(operation: dict[str, Any]) -> dict[str, Any]:
    status = min(code for code in operation["responses"] if code.startswith("2"))
    contents: dict[str, Any] = operation["responses"][status]["content"]
    return contents


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = _contents(operation)["application/json"]
    return content


def _is_archive(operation: dict[str, Any]) -> bool:
    return set(_contents(operation)) == {"application/x-tar"}


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        found: dict[str, Any] = schema["components"]["schemas"][name]
        return found
    return part


def _validator(schema: dict[str, Any], part: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**part, "components": schema["components"]})


def test_every_schema_is_valid(schema: dict[str, Any]) -> None:
    """Every component is a JSON Schema (the dialect of OpenAPI 3.1), and every reference leads."""
    assert schema["openapi"].startswith("3.1")
    components = schema["components"]["schemas"]
    for part in components.values():
        Draft202012Validator.check_schema(part)
    wanted = {ref.rpartition("/")[2] for ref in _references(schema)}
    assert wanted <= set(components)


def test_every_operation_is_described_and_has_an_example(schema: dict[str, Any]) -> None:
    """Summary, description, a name of its own, and an example that fits the answer's schema."""
    names = [operation["operationId"] for _, operation in _operations(schema)]
    assert len(set(names)) == len(names)
    for title, operation in _operations(schema):
        assert operation["summary"], title
        assert operation["description"], title
        if _is_archive(operation):
            continue
        content = _success(operation)
        example = content.get("example") or _resolved(schema, content["schema"]).get("example")
        assert example, f"{title}: the answer has no example"
        errors = [
            error.message for error in _validator(schema, content["schema"]).iter_errors(example)
        ]
        assert not errors, f"{title}: {errors}"


def test_every_body_has_an_example_that_fits(schema: dict[str, Any]) -> None:
    """What the description shows as a body is accepted by its own schema."""
    bodies = 0
    for title, operation in _operations(schema):
        if "requestBody" not in operation:
            continue
        part = operation["requestBody"]["content"]["application/json"]["schema"]
        part = next((one for one in part.get("anyOf", ()) if "$ref" in one), part)
        if "$ref" not in part:  # what MLflow sends is MLflow's to describe
            continue
        example = _resolved(schema, part)["example"]
        assert _validator(schema, part).is_valid(example), title
        bodies += 1
    assert bodies >= 5


def test_problems_are_described_as_problems(schema: dict[str, Any]) -> None:
    """Every answer that is no success is described as a problem document."""
    for title, operation in _operations(schema):
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                assert set(response["content"]) == {MEDIA_TYPE}, (title, status)


def test_what_is_answered_fits_what_is_described(
    memory_platform: MemoryPlatform, schema: dict[str, Any]
) -> None:
    """Real answers validate against the described schemas."""
    memory_platform.live("described")
    second = memory_platform.verified("described", factor=7.0)
    plan = {"goals": {"buys": {"source": "events:buys"}}}
    arms = [{"version": second}]
    experiment = memory_platform.client.start_experiment("described", arms, plan=plan)
    memory_platform.client.wait_experiment(experiment["id"], status="running", timeout_s=30)
    while not memory_platform.client.experiment_results(experiment["id"]):
        time.sleep(0.05)
    memory_platform.client.stop_experiment("described")
    release = memory_platform.client.start_release("described", second)
    memory_platform.client.wait_release_running("described", timeout_s=30)
    job = memory_platform.client.jobs()[0]["id"]
    build = memory_platform.client.builds()[0]["id"]
    headers = {"authorization": f"Bearer {memory_platform.key}"}
    asked = 0
    for path, methods in schema["paths"].items():
        if "get" not in methods or _is_archive(methods["get"]):  # test_repositories.py reads that
            continue
        filled = path.format(
            name="described",
            version=1,
            job_id=job,
            build_id=build,
            release_id=release["id"],
            experiment_id=experiment["id"],
        )
        answer = httpx.get(memory_platform.url + filled, headers=headers).json()
        errors = [
            error.message
            for error in _validator(schema, _success(methods["get"])["schema"]).iter_errors(answer)
        ]
        assert not errors, f"{path}: {errors}"
        asked += 1
    assert asked >= 12
    assert [
        path for path, one in schema["paths"].items() if "get" in one and _is_archive(one["get"])
    ] == ["/v1/builds/{build_id}/repository"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
