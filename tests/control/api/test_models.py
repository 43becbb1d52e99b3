"""Registered models, their versions and builds over the API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from memory_platform import MemoryPlatform, write_scaling

from conch.control.client import ApiError


def test_a_file_is_registered_and_becomes_live(
    memory_platform: MemoryPlatform, tmp_path: Path
) -> None:
    """One request registers a file; `Location` leads to the version, which goes live by itself."""
    path = tmp_path / "model.onnx"
    write_scaling(path, factor=4.0)
    headers = {"authorization": f"Bearer {memory_platform.key}"}
    response = httpx.post(
        f"{memory_platform.url}/v1/models/register",
        json={"name": "von Hand é", "path": str(path), "tags": {"team": "vision"}},
        headers=headers,
    )
    assert response.status_code == httpx.codes.ACCEPTED
    assert memory_platform.client.wait_live("von Hand é", 1, timeout_s=60) == 1
    version = httpx.get(memory_platform.url + response.headers["location"], headers=headers).json()
    assert version["name"] == "von Hand é"
    assert version["tags"] == {"team": "vision"}
    assert version["framework"] == "onnx"
    assert version["created_by"] == "ada"
    assert version["status"] == "verified"
    assert version["live"]


def test_an_unknown_file_is_not_registered(memory_platform: MemoryPlatform, tmp_path: Path) -> None:
    """A path that holds no model is refused, and nothing is registered."""
    with pytest.raises(ApiError) as caught:
        memory_platform.client.register("nothing", tmp_path / "absent.onnx")
    assert caught.value.code == "model-file-invalid"


def test_a_relative_path_is_refused(memory_platform: MemoryPlatform) -> None:
    """The server's working directory is nobody's business."""
    response = httpx.post(
        f"{memory_platform.url}/v1/models/register",
        json={"name": "x", "path": "model.onnx"},
        headers={"authorization": f"Bearer {memory_platform.key}"},
    )
    assert response.json()["code"] == "invalid-value"


def test_models_are_filtered_by_tag_and_metric(memory_platform: MemoryPlatform) -> None:
    """A model is listed when one of its versions passes every filter."""
    tags = {"team": "filters"}
    memory_platform.live("good", tags=tags, metrics={"accuracy": 0.97})
    memory_platform.live("poor", tags=tags, metrics={"accuracy": 0.61})
    memory_platform.live("other", tags={"team": "else"}, metrics={"accuracy": 0.99})

    def names(*, tags: tuple[str, ...] = (), metrics: tuple[str, ...] = ()) -> list[str]:
        return [one["name"] for one in memory_platform.client.models(tags=tags, metrics=metrics)]

    assert names(tags=("team=filters",)) == ["good", "poor"]
    assert names(tags=("team=filters",), metrics=("accuracy>=0.9",)) == ["good"]
    assert names(tags=("team=filters",), metrics=("accuracy<0.9",)) == ["poor"]
    assert names(tags=("team=filters",), metrics=("recall>0",)) == []
    assert {"good", "poor", "other"} <= set(names())


@pytest.mark.parametrize("text", ["accuracy", "accuracy>=high", ">=1"])
def test_a_filter_that_cannot_be_read_is_refused(
    memory_platform: MemoryPlatform, text: str
) -> None:
    """A metric filter that is not `name>=number` is named, not ignored."""
    with pytest.raises(ApiError) as caught:
        memory_platform.client.models(metrics=[text])
    assert caught.value.code == "invalid-value"


def test_a_build_comes_with_its_report(memory_platform: MemoryPlatform) -> None:
    """One build shows its verification; a listing leaves it out."""
    memory_platform.live("reported")
    build_id = memory_platform.client.version("reported", 1)["build_id"]
    build = memory_platform.client.build(build_id)
    assert build["status"] == "verified"
    assert build["report"]["verification"]["rows"] > 0
    assert build["report"]["verification"]["outputs"][0]["mismatches"] == 0
    listed = memory_platform.client.builds(model="reported")
    assert [one["id"] for one in listed] == [build_id]
    assert listed[0]["report"] is None


def test_a_refused_version_says_why_and_can_be_built_again(
    memory_platform: MemoryPlatform,
) -> None:
    """A refusal is a reason with a code; after its cause is gone, a person has it built again."""
    number = memory_platform.register("refused", tags={"triton.max_batch_size": "many"})
    with pytest.raises(ApiError) as caught:
        memory_platform.client.wait_verified("refused", number, timeout_s=30)
    assert caught.value.code == "serving-tag-invalid"
    version = memory_platform.client.version("refused", number)
    assert version["status"] == "refused"
    assert version["reason"]["hint"]

    memory_platform.registry.set_tags("refused", number, {"triton.max_batch_size": "16"})
    memory_platform.client.sweep()
    again = memory_platform.client.retry_build("refused", number)
    assert again["status"] == "building"
    assert again["job"]["label"] == f"build refused version {number}"
    assert memory_platform.client.wait_live("refused", number, timeout_s=60) == number


def test_a_verified_version_is_built_in_another_form_by_a_pin(
    memory_platform: MemoryPlatform,
) -> None:
    """The new build has an ordinal of its own; the one that serves is still the live one."""
    memory_platform.live("pinned")
    client = memory_platform.client
    first = client.builds(model="pinned")[0]
    assert client.retry_build("pinned", 1, pin="onnx:fp32")["status"] == "building"
    client.wait_verified("pinned", 1, timeout_s=60)
    builds = client.builds(model="pinned")
    assert [one["ordinal"] for one in builds] == [first["ordinal"] + 1, first["ordinal"]]
    assert {one["status"] for one in builds} == {"verified"}
    assert client.deployment("pinned")["arms"][0]["build_id"] == first["id"]


def test_a_pin_that_cannot_be_leaves_what_serves(memory_platform: MemoryPlatform) -> None:
    """The build is refused with the reason; the version stays verified by its earlier build."""
    memory_platform.live("unpinnable")
    client = memory_platform.client
    client.retry_build("unpinnable", 1, pin="fil")
    version = client.wait_verified("unpinnable", 1, timeout_s=60)
    assert version["reason"]["code"] == "unsupported-graph"
    assert client.builds(model="unpinnable")[0]["status"] == "refused"
    assert client.deployment("unpinnable")["live_version"] == 1
    with pytest.raises(ApiError) as caught:
        client.retry_build("unpinnable", 1, pin="savedmodel")
    assert caught.value.code == "invalid-value"


def test_a_verified_version_is_not_built_again(memory_platform: MemoryPlatform) -> None:
    """A build is asked for only where there is none."""
    number = memory_platform.live("verified already")
    with pytest.raises(ApiError) as caught:
        memory_platform.client.retry_build("verified already", number)
    assert caught.value.code == "build-not-needed"


def test_a_deployment_is_found_by_its_own_name_and_its_models(
    memory_platform: MemoryPlatform,
) -> None:
    """Both names lead to the same deployment, which tells who gets what."""
    memory_platform.live("deployed model")
    by_model = memory_platform.client.deployment("deployed model")
    assert memory_platform.client.deployment(by_model["deployment_name"]) == by_model
    assert [(arm["version"], arm["weight"]) for arm in by_model["arms"]] == [(1, 100.0)]
    assert by_model["status"] == "serving"
    assert by_model in memory_platform.client.deployments()


def test_what_is_unknown_is_not_found(memory_platform: MemoryPlatform) -> None:
    """Every reader answers an unknown name with `not-found`."""
    client = memory_platform.client
    asks = (
        lambda: client.model("nobody"),
        lambda: client.versions("nobody"),
        lambda: client.version("nobody", 1),
        lambda: client.build("nobody"),
        lambda: client.builds(model="nobody"),
        lambda: client.deployment("nobody"),
        lambda: client.release("nobody"),
        lambda: client.releases(model="nobody"),
        lambda: client.job("nobody"),
        lambda: client.cancel_job("nobody"),
        lambda: client.retry_build("nobody", 1),
    )
    for ask in asks:
        with pytest.raises(ApiError) as caught:
            ask()
        assert caught.value.code == "not-found"
