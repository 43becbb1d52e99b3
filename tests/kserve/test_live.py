"""Releases on a cluster that a person gives, where everything is real (`make live`).

Models are registered, built, verified, loaded, asked their golden rows through the gateway, and
released by a plan; what was observed comes from a table. Without a cluster nothing of this runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_clusters import LOAD_S, given, live_build, live_target
from memory_platform import MemoryPlatform, running_memory_platform

from conch.control.settings import ServingSettings
from conch.core import ConchError, SlotName, TritonName
from conch.kserve.serving.target import KServeTarget

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(int(8 * LOAD_S)),
    pytest.mark.skipif(not given(), reason="no cluster was given: make live PROFILE=FILE"),
]
MODEL = TritonName("live-release")
PLAN = {"step_minimum_s": 0, "bake_s": 1, "record_every_s": 1}


@pytest.fixture
def target() -> Iterator[KServeTarget]:
    """The cluster."""
    with live_target() as it:
        yield it


@pytest.fixture
def platform(target: KServeTarget, tmp_path: Path) -> Iterator[MemoryPlatform]:
    """A control plane on it."""
    serving = ServingSettings(load_timeout_s=int(LOAD_S))
    with running_memory_platform(tmp_path, on=target, serving=serving) as it:
        yield it
    for slot in ("a", "b", "a"):  # the one with traffic goes last
        with contextlib.suppress(ConchError):
            target.unload(MODEL, SlotName(slot))


def test_the_api_server_takes_everything(target: KServeTarget, tmp_path: Path) -> None:
    """A dry run of a load: every object is checked by the real webhooks, and nothing is left."""
    build = live_build(tmp_path, "live-dry", 1, loads=True)
    plan = target.plan(build, target.slot_for(build))
    assert plan.writes
    assert not target.held(build.model).slots


def test_a_release_is_promoted_and_the_next_is_rolled_back(platform: MemoryPlatform) -> None:
    """By its plan's steps, and on harm that is proven."""
    client, name = platform.client, str(MODEL)
    platform.register(name, factor=2.0)
    client.wait_live(name, 1, timeout_s=LOAD_S)
    platform.register(name, factor=3.0)
    client.wait_verified(name, 2, timeout_s=300)
    client.start_release(name, 2, plan="canary", changes=PLAN)
    ended = client.wait_release_ended(name, timeout_s=3 * LOAD_S)
    assert ended["status"] == "promoted", ended

    platform.evidence.candidate = {"error-rate": 0.05}
    platform.register(name, factor=4.0)
    client.wait_verified(name, 3, timeout_s=300)
    client.start_release(name, 3, plan="canary", changes=PLAN)
    ended = client.wait_release_ended(name, timeout_s=3 * LOAD_S)
    assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "harm-proven")
    assert client.model(name)["live_version"] == 2
