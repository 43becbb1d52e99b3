"""The friendly prediction: checked inputs, one road with everybody else, the version named."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform

from conch.control.client import ApiError, Client
from conch.core import TritonName

_ROWS = [[1.0, 2.0, 3.0, 4.0]]


@pytest.fixture(scope="module")
def released(memory_platform: MemoryPlatform) -> str:
    """A model whose version 1 is live and whose version 2 has 30 % of the traffic."""
    name = "predicted"
    memory_platform.live(name, factor=2.0)
    second = memory_platform.verified(name, factor=3.0)
    memory_platform.client.start_release(name, second, weight=30)
    memory_platform.client.wait_release_running(name, timeout_s=30)
    return name


@pytest.mark.parametrize(
    "inputs",
    [{"x": _ROWS}, _ROWS, [{"x": _ROWS[0]}]],
    ids=["by name", "unnamed array", "row objects"],
)
def test_inputs_may_come_in_three_forms(
    memory_platform: MemoryPlatform, released: str, inputs: Any
) -> None:
    """Arrays by name, one unnamed array and rows as objects give the same answer."""
    found = memory_platform.client.predict(released, inputs, version=1)
    assert found["outputs"] == {"y": [[2.0, 4.0, 6.0, 8.0]]}
    assert found["prediction"] == found["outputs"]["y"]


def test_an_answer_names_what_answered(memory_platform: MemoryPlatform, released: str) -> None:
    """Version, semantic version, build and a time-ordered identity come with every answer."""
    found = memory_platform.client.predict(released, _ROWS, version=2)
    version = memory_platform.client.version(released, 2)
    assert found["model_version"] == 2
    assert found["semantic_version"] == version["semantic_version"]
    assert found["build_id"] == version["build_id"]
    assert found["latency_ms"] > 0
    assert uuid.UUID(found["prediction_id"]).version == 7


def test_a_unit_gets_the_arm_that_the_split_computes(
    memory_platform: MemoryPlatform, released: str
) -> None:
    """Without a pinned version the unit decides, by the hash that anybody can compute offline."""
    split = memory_platform.target.observe().routes[TritonName(released)]
    numbers = {1: 2.0, 2: 3.0}
    seen = set()
    for number in range(40):
        unit = f"nutzerin-é-{number}"
        found = memory_platform.client.predict(released, _ROWS, unit=unit)
        assert found["build_id"] == split.arm_of(unit).build_id
        assert found["prediction"][0][0] == numbers[found["model_version"]]
        seen.add(found["model_version"])
    assert seen == {1, 2}


def test_the_unit_may_come_as_a_header(memory_platform: MemoryPlatform, released: str) -> None:
    """`x-conch-unit` on the request does what `unit` in the body does."""
    split = memory_platform.target.observe().routes[TritonName(released)]
    for unit in ("user-1", "user-2", "é-3", "user-4"):
        response = httpx.post(
            f"{memory_platform.url}/v1/models/{released}/predict",
            json={"inputs": _ROWS},
            headers={b"x-conch-unit": unit.encode()},
        )
        assert response.json()["build_id"] == split.arm_of(unit).build_id


def test_predictions_need_no_key(memory_platform: MemoryPlatform, released: str) -> None:
    """Predictions are as open as the inference entry that they go through."""
    with Client(memory_platform.url) as client:
        assert client.predict(released, _ROWS)["outputs"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": [[1, 2, 3]]}, "shape [1, 3] does not fit"),
        ({"x": [1, 2, 3, 4]}, "a single row goes into a list of its own"),
        ({"x": [[1, 2, 3, 4], [1, 2]]}, "not all of one length"),
        ({"x": [["1", 2, 3, 4]]}, "element 0 is '1', and FP32 takes a finite number"),
        ({"x": [[1e39, 2, 3, 4]]}, "element 0 is 1e+39"),
        ({"x": [[True, 2, 3, 4]]}, "element 0 is True"),
        ({"x": [[None, 2, 3, 4]]}, "element 0 is None"),
        ({"x": []}, "does not fit"),
        ({"x": [[0, 0, 0, 0]] * 65}, "65 rows, and a request may hold 64"),
        ({"z": _ROWS}, "no such input; the model takes x"),
        ({}, "input 'x': missing"),
    ],
)
def test_misfits_are_named_before_anything_is_sent(
    memory_platform: MemoryPlatform, released: str, inputs: Any, words: str
) -> None:
    """An input that does not fit is refused with the reason and with what the model takes."""
    with pytest.raises(ApiError) as caught:
        memory_platform.client.predict(released, inputs)
    assert caught.value.code == "inputs-invalid"
    assert words in caught.value.message
    assert "x: FP32[rows, 4]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [("nobody", None, "not-found"), ("predicted", 99, "not-found")],
)
def test_what_is_unknown_is_not_found(
    memory_platform: MemoryPlatform, released: str, name: str, version: int | None, code: str
) -> None:
    """A model or version that conch has not seen is not found."""
    with pytest.raises(ApiError) as caught:
        memory_platform.client.predict(name, _ROWS, version=version)
    assert caught.value.code == code


def test_a_version_that_is_not_loaded_is_not_served(memory_platform: MemoryPlatform) -> None:
    """Pinning a version that was verified and never released says so."""
    memory_platform.live("half-served")
    second = memory_platform.verified("half-served", factor=5.0)
    with pytest.raises(ApiError) as caught:
        memory_platform.client.predict("half-served", _ROWS, version=second)
    assert caught.value.code == "not-served"


def test_a_version_is_latest_or_a_number(memory_platform: MemoryPlatform, released: str) -> None:
    """Any other word for a version is refused."""
    response = httpx.post(
        f"{memory_platform.url}/v1/models/{released}/predict",
        json={"inputs": _ROWS, "version": "newest"},
    )
    assert response.json()["code"] == "invalid-value"


def test_servers_that_are_away_are_a_passing_failure(memory_platform: MemoryPlatform) -> None:
    """Where no server answers, the problem says that the same request can succeed later."""
    memory_platform.live("fallen")
    memory_platform.target.unload(TritonName("fallen"), memory_platform.plane.reconciler.slots[0])
    with pytest.raises(ApiError) as caught:
        memory_platform.client.predict("fallen", _ROWS)
    assert caught.value.code == "inference-unavailable"
    assert caught.value.retryable
