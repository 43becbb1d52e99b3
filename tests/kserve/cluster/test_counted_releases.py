"""Releases on a cluster that are decided by what its servers' payload events tell.

The API server, the control plane, its event log and its statistics are real, and events arrive over
HTTP; controllers and requests are the stand-ins.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kserve_clusters import Lab, lab
from kserve_logging import Traffic as Requests
from kserve_logging import traffic
from kube_apiserver import ApiServer
from kube_clients import Connect
from memory_platform import MemoryPlatform, running_memory_platform
from platform_fixtures import until

from conch.control.payloads import PayloadSource
from conch.control.settings import ServingSettings
from conch.kserve import Payloads, Traffic

pytestmark = [pytest.mark.real, pytest.mark.timeout(480)]
TOKEN: Final = "a-token-of-the-tests"
PLAN: Final[dict[str, Any]] = {
    "steps": [20, 50],
    "step_minimum_s": 1,
    "step_minimum_units": 30,
    # Far above noise: what is tested is that requests are counted for who served them.
    "guardrails": {"error-rate": {"margin": 0.5, "tolerated": 0.02}},
    "bake_s": 0.5,
    "holdback": 0,
    "freshness_s": 5,
    "record_every_s": 1,
}


@pytest.fixture(params=list(Traffic))
def on(
    request: pytest.FixtureRequest,
    connect: Connect,
    apiserver: ApiServer,
    namespace: str,
    tmp_path: Path,
) -> Iterator[tuple[Lab, MemoryPlatform]]:
    """A platform on a cluster whose servers tell it what they are asked."""
    (tmp_path / "home").mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    payloads = Payloads(url=url, token=TOKEN, answer_s=0.5)
    with lab(connect, namespace, request.param, tmp_path, seed=5, payloads=payloads) as it:
        source = PayloadSource(
            token=TOKEN,
            routes=it.target.routes,
            arm_of=it.target.arm_of,
            answer_s=payloads.answer_s,
            margin_s=0.25,
        )
        with running_memory_platform(
            tmp_path / "home",
            on=it.target,
            listener=listener,
            payloads=source,
            serving=ServingSettings(load_timeout_s=10),
        ) as platform:
            yield it, platform


def test_releases_by_counted_requests(on: tuple[Lab, MemoryPlatform]) -> None:
    """A good version is promoted, one that fails is rolled back, and silence holds."""
    it, platform = on
    client = platform.client
    platform.live("digits", factor=2.0)
    with traffic(it.standin, seed=3) as requests:
        two = started(platform, factor=3.0)
        requests.failing = {two: 0.002}
        ended = client.wait_release_ended("digits", timeout_s=120)
        assert ended["status"] == "promoted", ended
        until(lambda: it.standin.history[-1] == {two: 100})
        assert_counted(platform)

        three = released(platform, requests, factor=4.0, failing=0.4)
        ended = client.wait_release_ended("digits", timeout_s=120)
        assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "harm-proven")
        until(lambda: it.standin.history[-1] == {two: 100})
        assert three not in it.standin.history[-1]
        told = client.explain(newest(platform)["id"])["sentences"]
        assert any("each request is a unit of its own" in one for one in told)

        requests.silent = True
        number = platform.verified("digits", factor=5.0)
        client.start_release("digits", number, plan="canary", changes=PLAN)
        until(lambda: (newest(platform)["hold"] or {}).get("code") is not None, timeout_s=60)
        assert newest(platform)["status"] == "running"


def started(platform: MemoryPlatform, *, factor: float) -> str:
    """Register a further version, release it by a plan, and return its build."""
    number = platform.verified("digits", factor=factor)
    platform.client.start_release("digits", number, plan="canary", changes=PLAN)
    return str(platform.client.version("digits", number)["build_id"])


def released(platform: MemoryPlatform, requests: Requests, *, factor: float, failing: float) -> str:
    """Release a further version that fails for a share of its requests."""
    number = platform.verified("digits", factor=factor)
    build = str(platform.client.version("digits", number)["build_id"])
    requests.failing[build] = failing
    platform.client.start_release("digits", number, plan="canary", changes=PLAN)
    return build


def newest(platform: MemoryPlatform) -> dict[str, Any]:
    """Return the newest release."""
    found: dict[str, Any] = platform.client.releases(model="digits", limit=1)[0]
    return found


def assert_counted(platform: MemoryPlatform) -> None:
    """Requests were counted, and none of a stage that was not in force."""
    payloads = platform.client.event_stats()["payloads"]
    assert payloads["counted"] > 100
    assert payloads["lost_stretches"] == 0
    assert payloads["received"] >= 2 * payloads["counted"] - payloads["unanswered"]
    exposures = platform.client.events(after=0, kind="exposure", limit=1000)["events"]
    release = newest(platform)
    stages = {stage["number"]: stage for stage in release["stages"]}
    of_it = [one for one in exposures if one["release"] == release["id"]]
    assert of_it
    assert {one["stage"] for one in of_it} <= set(stages)
