"""Whole releases on a cluster: the real control plane and its engine over the KServe target.

Models are registered, built, verified, loaded, asked their golden rows, and released by a plan. The
API server is real, controllers and servers are the stand-in; evidence comes from a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kserve_clusters import Lab, lab
from kserve_standin import Fault
from kube_apiserver import ApiServer
from kube_clients import Connect
from memory_platform import MemoryPlatform, running_memory_platform
from platform_fixtures import until

from conch.control.settings import ServingSettings
from conch.kserve import Traffic

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
PLAN = {"step_minimum_s": 0, "bake_s": 0.2, "record_every_s": 0.1}


@pytest.fixture(params=list(Traffic))
def on(
    request: pytest.FixtureRequest,
    connect: Connect,
    apiserver: ApiServer,
    namespace: str,
    tmp_path: Path,
) -> Iterator[tuple[Lab, MemoryPlatform]]:
    """A platform that serves on a cluster, once for each way of dividing traffic."""
    (tmp_path / "home").mkdir()
    serving = ServingSettings(load_timeout_s=10)
    with (
        lab(connect, namespace, request.param, tmp_path, seed=11) as it,
        running_memory_platform(tmp_path / "home", on=it.target, serving=serving) as platform,
    ):
        yield it, platform


def test_three_releases(on: tuple[Lab, MemoryPlatform]) -> None:
    """Promoted by steps; rolled back on proven harm; failed where the candidate never gets ready.

    At no moment had a build traffic that its release did not give it.
    """
    it, platform = on
    client, standin = platform.client, it.standin
    platform.live("digits", factor=2.0)
    one = build_of(platform, 1)
    assert now(it) == {one: 100}

    two = released(platform, factor=3.0)
    ended = client.wait_release_ended("digits", timeout_s=90)
    assert ended["status"] == "promoted", ended
    until(lambda: now(it).get(two) == 100)
    seen = shares_of(it, two)
    assert seen == sorted(seen), seen
    assert {1, 5, 25, 50} <= set(seen)

    began = len(standin.history)
    platform.evidence.candidate = {"error-rate": 0.05}
    three = released(platform, factor=4.0)
    ended = client.wait_release_ended("digits", timeout_s=90)
    assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "harm-proven")
    until(lambda: now(it) == {two: 100})
    harmed = [shares.get(three, 0) for shares in standin.history[began:]]
    assert max(harmed) <= 5  # it did not outlive its second step
    assert all(not shares.get(one) for shares in standin.history[began:])

    platform.evidence.candidate = {"error-rate": 0.01}
    began = len(standin.history)
    number = platform.verified("digits", factor=5.0)
    four = build_of(platform, number)
    standin.faults[four] = Fault.BLOCKED
    client.start_release("digits", number, plan="canary", changes=PLAN)
    ended = client.wait_release_ended("digits", timeout_s=120)
    assert ended["status"] in ("failed", "rolled-back"), ended
    until(lambda: now(it) == {two: 100})
    assert all(not shares.get(four) for shares in standin.history[began:])
    assert all(set(alive(shares)) == {two} for shares in standin.history[began:])


def released(platform: MemoryPlatform, *, factor: float) -> str:
    """Register a further version, release it by a plan, and return its build."""
    number = platform.verified("digits", factor=factor)
    platform.client.start_release("digits", number, plan="canary", changes=PLAN)
    return build_of(platform, number)


def build_of(platform: MemoryPlatform, number: int) -> str:
    """Return the build of a version."""
    return str(platform.client.version("digits", number)["build_id"])


def now(it: Lab) -> dict[str, float]:
    """Return the division in force."""
    return alive(it.standin.history[-1])


def alive(shares: dict[str, float]) -> dict[str, float]:
    """Return what of a division has any traffic."""
    return {name: share for name, share in shares.items() if share}


def shares_of(it: Lab, which: str) -> list[float]:
    """Return the shares that a build had, one after another."""
    return [shares.get(which, 0) for shares in it.standin.history]
