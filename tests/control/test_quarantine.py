"""A build that crashed its servers, seen through the control plane: what becomes of its traffic."""

from __future__ import annotations

import time
from collections.abc import Callable

from memory_platform import MemoryPlatform

REASON = "its servers crashed"


def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.01)


def quarantine(platform: MemoryPlatform, name: str, number: int) -> str:
    """Bar a version's build at the target; return the build's id."""
    build_id: str = platform.client.version(name, number)["build_id"]
    platform.target.quarantine(build_id, REASON)
    platform.plane.nudge()
    return build_id


def tags(platform: MemoryPlatform, name: str, number: int) -> dict[str, str]:
    """Return what the registry shows of a version."""
    return next(
        dict(v.tags)
        for v in platform.registry.snapshot().versions
        if (v.name, v.number) == (name, number)
    )


def shares(platform: MemoryPlatform, name: str) -> dict[int, float]:
    """Return the weights in force by version, in percent."""
    arms = platform.client.deployment(name)["arms"]
    return {arm["version"]: arm["weight"] for arm in arms}


def test_a_quarantined_candidate_loses_its_traffic_at_once(memory_platform: MemoryPlatform) -> None:
    """Its release fails with the reason, its version says so here and in MLflow, it is unloaded."""
    client, name = memory_platform.client, "barred candidate"
    memory_platform.live(name)
    second = memory_platform.verified(name, factor=3.0)
    client.start_release(name, second, weight=50)
    client.wait_release_running(name, timeout_s=30)
    build_id = quarantine(memory_platform, name, second)
    until(lambda: bool(client.releases(model=name)[0]["status"] == "failed"))
    until(lambda: shares(memory_platform, name) == {1: 100.0})
    assert client.build(build_id)["status"] == "quarantined"
    assert REASON in client.build(build_id)["reason"]["message"]
    assert REASON in client.releases(model=name)[0]["reason"]["message"]
    until(lambda: tags(memory_platform, name, second).get("conch.status") == "quarantined")
    assert REASON in tags(memory_platform, name, second)["conch.reason"]
    assert client.deployment(name)["status"] == "serving"
    assert client.predict(name, [[1.0, 1.0, 1.0, 1.0]])["outputs"]["y"] == [[2.0] * 4]


def test_a_quarantined_live_build_makes_way_for_the_one_before(
    memory_platform: MemoryPlatform,
) -> None:
    """While its predecessor is loaded that one answers again; the release is rolled back."""
    client, name = memory_platform.client, "barred live"
    memory_platform.live(name)
    second = memory_platform.verified(name, factor=3.0)
    client.start_release(name, second)
    client.wait_release_running(name, timeout_s=30)
    client.promote(name)
    quarantine(memory_platform, name, second)
    until(lambda: bool(client.model(name)["live_version"] == 1))
    until(lambda: shares(memory_platform, name) == {1: 100.0})
    release = client.releases(model=name)[0]
    assert (release["status"], release["weight"]) == ("rolled-back", 0)
    assert release["reason"]["code"] == "version-quarantined"
    assert client.predict(name, [[1.0, 1.0, 1.0, 1.0]])["outputs"]["y"] == [[2.0] * 4]


def test_a_quarantined_only_version_is_told_and_can_be_built_again(
    memory_platform: MemoryPlatform,
) -> None:
    """Nothing else is promoted; the deployment says `failed` until a person has it built anew."""
    client, name = memory_platform.client, "barred alone"
    memory_platform.live(name)
    quarantine(memory_platform, name, 1)
    until(lambda: bool(client.deployment(name)["status"] == "failed"))
    assert client.model(name)["live_version"] == 1
    client.retry_build(name, 1)
    client.wait_verified(name, 1, timeout_s=30)
    client.start_release(name, 1, note="the machine had no memory left")
    client.wait_release_running(name, timeout_s=30)
    client.promote(name)
    assert client.deployment(name)["status"] == "serving"
    assert client.predict(name, [[1.0, 1.0, 1.0, 1.0]])["outputs"]["y"] == [[2.0] * 4]


def test_a_deployment_follows_the_number_of_its_servers(memory_platform: MemoryPlatform) -> None:
    """Scaling by name or altogether shows in the deployment; an unknown slot is refused."""
    client, name = memory_platform.client, "scaled"
    memory_platform.live(name)
    assert client.scale(3, slot="a")["slots"] == {"a": 3, "b": 1}
    until(lambda: bool(client.deployment(name)["replica_count"] == 3))
    assert client.scale(1)["slots"] == {"a": 1, "b": 1}
    until(lambda: bool(client.deployment(name)["replica_count"] == 1))
