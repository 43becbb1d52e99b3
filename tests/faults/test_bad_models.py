"""Models that hang or crash their servers: what that costs them, and what it costs the others.

Two servers in each slot; a neighbour that serves from the same slot and one from the other, both
asked without pause over HTTP and gRPC, every answer checked.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from platform_fixtures import (
    A,
    B,
    LocalPlatform,
    Traffic,
    X,
    all_to,
    running_platform,
    split_of,
    until,
)

from conch.core import BuildRef, TrafficSplit
from conch.local import (
    BuildQuarantinedError,
    InferenceFailedError,
    LoadFailedError,
    LocalSettings,
    Runtime,
    SlotNotReadyError,
    wait_until_ready,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, serving_runtime: Runtime
) -> Iterator[LocalPlatform]:
    """Two servers in each slot; `beside` is served from slot b, `apart` from slot a."""
    settings = LocalSettings(inference_port=0, slots={"a": 2, "b": 2})
    home = tmp_path_factory.mktemp("faults")
    with running_platform(home, serving_runtime, settings) as one:
        beside, apart = one.build("beside", 1), one.build("apart", 1)
        one.target.load(beside, B, timeout_s=60)
        one.target.load(apart, A, timeout_s=60)
        one.target.set_routes([all_to("beside", "b", beside), all_to("apart", "a", apart)])
        yield one


def serve(platform: LocalPlatform, build: BuildRef, split: TrafficSplit | None = None) -> None:
    """Load a build into slot b and send its callers there, besides the routes in force."""
    platform.target.load(build, B, timeout_s=60)
    kept = platform.target.routes().values()
    platform.target.set_routes([*kept, split or all_to(build.model, "b", build)])


def untried(split: TrafficSplit, build: BuildRef) -> TrafficSplit:
    """Return a split whose arm of a build is not baked yet."""
    arms = [replace(arm, baked=arm.build_id != build.build_id) for arm in split.arms]
    return replace(split, arms=tuple(arms))


def forget(platform: LocalPlatform, build: BuildRef) -> None:
    """Take a build out of the routes and of slot b."""
    kept = platform.target.observe().routes.values()
    platform.target.set_routes([split for split in kept if split.model != build.model])
    platform.target.unload(build.model, B)


def test_a_load_that_never_ends_is_given_up(platform: LocalPlatform) -> None:
    """The load fails at its time limit; neighbours lose nothing, and others can be loaded after."""
    hanging = platform.build("hanging", 1, behaviour="hang")
    with Traffic(platform, "beside", http=1) as beside, Traffic(platform, "apart", http=1) as apart:
        start = time.monotonic()
        with pytest.raises(LoadFailedError):
            platform.target.load(hanging, B, timeout_s=2)
        assert time.monotonic() - start < 15
        beside.wait_for(50)
        apart.wait_for(50)
        later = platform.build("later", 1)
        platform.target.load(later, B, timeout_s=60)
        beside.wait_for(50)
    assert beside.failures == []
    assert apart.failures == []
    assert set(beside.versions()) == set(apart.versions()) == {1}


def test_a_build_that_crashes_servers_while_it_loads_is_quarantined(
    platform: LocalPlatform,
) -> None:
    """One server dies at a time, so with two in the slot nobody else loses a request."""
    bad = platform.build("crashing", 1, behaviour="crash")
    with Traffic(platform, "beside", http=1) as beside, Traffic(platform, "apart", http=1) as apart:
        while bad.build_id not in platform.target.quarantined():
            with pytest.raises((SlotNotReadyError, BuildQuarantinedError)):
                platform.target.load(bad, B, timeout_s=60)
            wait_until_ready(platform.home)
        with pytest.raises(BuildQuarantinedError):
            platform.target.load(bad, B, timeout_s=60)
        beside.wait_for(50)
        apart.wait_for(50)
    assert beside.failures == []
    assert apart.failures == []


def test_a_build_that_crashes_on_its_first_request_never_gets_one_from_a_caller(
    platform: LocalPlatform,
) -> None:
    """It is asked at one server, past the gateway, before it is routed: one server dies, once."""
    bad = platform.build("first", 1, behaviour="fault-at-1")
    before = sum(restarts(platform))
    with Traffic(platform, "beside", http=1) as beside:
        platform.target.load(bad, B, timeout_s=60)
        with pytest.raises(InferenceFailedError):
            platform.target.infer(bad.model, B, {"x": X}, timeout_s=20)
        platform.target.unload(bad.model, B)
        until(lambda: sum(restarts(platform)) == before + 1)
        wait_until_ready(platform.home)
        beside.wait_for(50)
    assert beside.failures == []


@pytest.mark.parametrize("requests", [5, 1000])
def test_a_build_that_crashes_servers_after_some_requests_is_quarantined(
    platform: LocalPlatform, requests: int
) -> None:
    """Its servers' crashes are blamed on it; what shares its slot is served again at once."""
    bad = platform.build(f"after-{requests}", 1, behaviour=f"fault-at-{requests}")
    with Traffic(platform, "apart", http=1) as apart:
        serve(platform, bad)
        with Traffic(platform, bad.model, http=2, grpc=0) as own:
            until(lambda: bad.build_id in platform.target.quarantined(), timeout_s=60)
        assert own.failures
        wait_until_ready(platform.home)
        forget(platform, bad)
        with Traffic(platform, "beside", http=1) as beside:
            beside.wait_for(50)
        apart.wait_for(50)
    assert beside.failures == []
    assert apart.failures == [], "the other slot never noticed"
    assert "soon after it took this build" in platform.target.quarantined()[bad.build_id]


@pytest.mark.parametrize(("baked", "crashes"), [(True, 2), (False, 1)], ids=["baked", "untried"])
def test_a_request_that_crashes_a_server_is_sent_again_for_baked_versions_only(
    platform: LocalPlatform, baked: bool, crashes: int
) -> None:
    """One request takes one server along, not two, whatever retries its caller asks for."""
    bad = platform.build(f"once-{'baked' if baked else 'untried'}", 1, behaviour="fault-at-1")
    split = all_to(bad.model, "b", bad)
    serve(platform, bad, split if baked else untried(split, bad))
    before = restarts(platform)
    answer = None
    with suppress(OSError, http.client.HTTPException):
        answer = platform.infer(bad.model, headers={"x-envoy-retry-on": "reset,5xx"})
    assert answer is None or answer.status != http.client.OK
    forget(platform, bad)
    until(lambda: sum(restarts(platform)) >= sum(before) + crashes)
    wait_until_ready(platform.home)
    assert sum(restarts(platform)) == sum(before) + crashes


def test_a_candidate_that_crashes_servers_takes_no_neighbour_along(
    platform: LocalPlatform,
) -> None:
    """With half of the traffic it is asked at half of its slot's servers: the rest never crashes.

    Its neighbours lose no request, although it crashes its server twice, until it is quarantined.
    """
    live, bad = platform.build("halved", 1), platform.build("halved", 2, behaviour="fault-at-20")
    platform.target.load(live, A, timeout_s=60)
    serve(platform, bad, untried(split_of("halved", ("b", bad, 5000), ("a", live, 5000)), bad))
    before = restarts(platform)
    with (
        Traffic(platform, "beside", http=2) as beside,
        Traffic(platform, "apart", http=1) as apart,
        Traffic(platform, "halved", http=2) as own,
    ):
        until(lambda: bad.build_id in platform.target.quarantined(), timeout_s=60)
        beside.wait_for(50)
        apart.wait_for(50)
    assert own.failures
    wait_until_ready(platform.home)
    assert beside.failures == []
    assert apart.failures == []
    first, second = restarts(platform)
    assert (first, second) == (before[0] + 2, before[1])


def restarts(platform: LocalPlatform) -> tuple[int, int]:
    """Return how often each server of slot b was started again."""
    first, second = platform.target.observe().in_slot(B)
    return first.restarts, second.restarts
