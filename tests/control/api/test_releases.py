"""Releases over the API: every step by hand, in percent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform

from conch.control.client import ApiError, Client


def _shares(client: Client, name: str) -> dict[int, float]:
    return {arm["version"]: arm["weight"] for arm in client.deployment(name)["arms"]}


def test_a_release_goes_forward_and_back(memory_platform: MemoryPlatform) -> None:
    """Start, weight, promote and roll back each answer after the traffic has moved."""
    client = memory_platform.client
    memory_platform.live("moved", factor=2.0)
    second = memory_platform.verified("moved", factor=3.0)

    started = client.start_release("moved", second, note="a test")
    assert (started["candidate_version"], started["baseline_version"]) == (second, 1)
    assert (started["created_by"], started["note"]) == ("administrator", "a test")
    assert client.wait_release_running("moved", timeout_s=30)["weight"] == 0.0
    assert client.deployment("moved")["status"] == "releasing"

    assert client.set_weight("moved", 12.34)["weight"] == 12.34
    assert _shares(client, "moved") == {second: 12.34, 1: 87.66}

    assert client.promote("moved")["status"] == "promoted"
    assert _shares(client, "moved")[second] == 100.0
    assert client.model("moved")["live_version"] == second

    back = client.rollback("moved", reason="to show it")
    assert back["status"] == "rolled-back"
    assert back["reason"]["message"] == "to show it"
    assert _shares(client, "moved")[1] == 100.0
    assert client.release(back["id"]) == back
    assert [one["id"] for one in client.releases(model="moved")] == [back["id"]]


def test_a_release_that_runs_has_its_weight_in_force(memory_platform: MemoryPlatform) -> None:
    """The wait does not end with the routes that name the candidate at 0, before its weight."""
    client = memory_platform.client
    memory_platform.live("weighed", factor=2.0)
    second = memory_platform.verified("weighed", factor=3.0)
    given: list[dict[str, Any]] = []
    client.start_release("weighed", second, weight=30)
    client.wait_release_running("weighed", timeout_s=30, watch=given.append)
    assert _shares(client, "weighed") == {second: 30.0, 1: 70.0}
    assert given[-1]["weight"] == 30.0
    client.rollback("weighed")


def test_a_version_that_was_rolled_back_needs_a_word(memory_platform: MemoryPlatform) -> None:
    """After a rollback the same version is released only with a note."""
    client = memory_platform.client
    memory_platform.live("twice", factor=2.0)
    second = memory_platform.verified("twice", factor=3.0)
    client.start_release("twice", second)
    client.rollback("twice")
    with pytest.raises(ApiError) as caught:
        client.start_release("twice", second)
    assert caught.value.code == "rolled-back-before"
    assert client.start_release("twice", second, note="checked by hand")["status"]


def test_a_candidate_that_does_not_load_ends_its_release(memory_platform: MemoryPlatform) -> None:
    """The release fails with the server's words, and the live version keeps all traffic."""
    client = memory_platform.client
    memory_platform.live("steadfast", factor=2.0)
    second = memory_platform.verified("steadfast", factor=3.0)
    memory_platform.target.fail_load("steadfast", second, "out of memory")
    client.start_release("steadfast", second)
    with pytest.raises(ApiError, match="out of memory") as caught:
        client.wait_release_running("steadfast", timeout_s=30)
    assert caught.value.code == "candidate-failed"
    assert client.predict("steadfast", [[1, 1, 1, 1]])["model_version"] == 1


@pytest.mark.parametrize("weight", [-1, 100.5, 12.345, "much"])
def test_a_weight_is_percent_with_two_decimals(
    memory_platform: MemoryPlatform, weight: object
) -> None:
    """Any other weight is refused before the release is looked at."""
    response = httpx.patch(
        f"{memory_platform.url}/v1/models/moved/releases/current",
        json={"weight": weight},
        headers={"authorization": f"Bearer {memory_platform.key}"},
    )
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert response.json()["code"] == "request-invalid"
    assert "body.weight" in response.json()["details"]["problems"]


def test_what_a_release_needs_is_said(memory_platform: MemoryPlatform) -> None:
    """Each state that does not allow a request has a code of its own."""
    client = memory_platform.client
    memory_platform.live("alone", factor=2.0)
    with pytest.raises(ApiError) as no_release:
        client.set_weight("alone", 10)
    with pytest.raises(ApiError) as live_already:
        client.start_release("alone", 1)
    with pytest.raises(ApiError) as unknown:
        client.start_release("alone", 9)
    second = memory_platform.verified("alone", factor=3.0)
    client.start_release("alone", second)
    with pytest.raises(ApiError) as open_already:
        client.start_release("alone", second)
    codes = [one.value.code for one in (no_release, live_already, unknown, open_already)]
    assert codes == ["no-release", "conflict", "not-found", "release-open"]
