"""Loads, flips, refusals and unloads while callers go on asking."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from platform_fixtures import A, B, LocalPlatform, Traffic, X, all_to, split_of, until

from conch.core import InvalidValueError, ServerState, SlotName
from conch.local import (
    BuildIncompleteError,
    DesiredFile,
    InferenceFailedError,
    LoadFailedError,
    SlotNotReadyError,
)
from conch.local.homes import Home
from conch.local.instances import Phase
from conch.local.repositories import held

pytestmark = pytest.mark.real


def test_flips_under_load_lose_and_misdirect_nothing(local_platform: LocalPlatform) -> None:
    """Ten flips between slots: no failed request, every answer by the version that is named."""
    target = local_platform.target
    one, two = local_platform.build("flip", 1), local_platform.build("flip", 2)
    target.load(one, A, timeout_s=60)
    target.load(two, B, timeout_s=60)
    to_a, to_b = all_to("flip", "a", one), all_to("flip", "b", two)
    target.set_routes([to_a])
    flips: list[tuple[float, float, int]] = []
    with Traffic(local_platform, "flip") as traffic:
        for number in range(10):
            traffic.wait_for(40)
            start = time.monotonic()
            target.set_routes([to_b if number % 2 == 0 else to_a])
            flips.append((start, time.monotonic(), 2 if number % 2 == 0 else 1))
        traffic.wait_for(40)
    assert traffic.failures == []
    assert all(named in (0, version) for _, version, named in traffic.answers)
    # Requests in flight at the acknowledgement may still come from the old slot, no later ones.
    for (_, done, version), end in zip(flips, [s for s, _, _ in flips[1:]] + [1e18], strict=True):
        after = [v for at, v, _ in traffic.answers if done + 0.25 <= at < end]
        assert set(after) <= {version}
    assert statistics.median(done - start for start, done, _ in flips) < 0.5


def test_a_new_version_in_the_same_slot_takes_over_without_a_failure(
    local_platform: LocalPlatform,
) -> None:
    """The slot serves the old version until the new one is ready; then only that is held."""
    target, home = local_platform.target, Home(local_platform.home)
    first, second = local_platform.build("inplace", 1), local_platform.build("inplace", 2)
    target.load(first, A, timeout_s=60)
    target.set_routes([all_to("inplace", "a", first)])
    with Traffic(local_platform, "inplace") as traffic:
        traffic.wait_for(30)
        target.load(second, A, timeout_s=60)
        traffic.wait_for(30)
    assert traffic.failures == []
    assert {version for _, version, _ in traffic.answers} == {1, 2}
    assert held(home, A, second.model) == 2
    # And back: a lower number is as good as a higher one.
    with Traffic(local_platform, "inplace") as traffic:
        traffic.wait_for(30)
        target.load(first, A, timeout_s=60)
        traffic.wait_for(30)
    assert traffic.failures == []
    assert traffic.answers[-1][1] == 1
    assert list(home.staging(A).iterdir()) == []


def test_a_build_that_does_not_load_leaves_the_old_version_serving(
    local_platform: LocalPlatform,
) -> None:
    """Triton's words reach the caller; answers, repository and desired state stay."""
    target, home = local_platform.target, Home(local_platform.home)
    good = local_platform.build("sturdy", 1)
    broken = local_platform.build("sturdy", 2, behaviour="refuse")
    target.load(good, A, timeout_s=60)
    target.set_routes([all_to("sturdy", "a", good)])
    with Traffic(local_platform, "sturdy") as traffic:
        traffic.wait_for(20)
        with pytest.raises(LoadFailedError, match="these weights are broken") as error:
            target.load(broken, A, timeout_s=60)
        traffic.wait_for(20)
    assert error.value.code == "load-failed"
    assert traffic.failures == []
    assert {version for _, version, _ in traffic.answers} == {1}
    assert held(home, A, good.model) == 1
    server = target.observe().in_slot(A)[0]
    assert server.holds(good.model, good.ordinal)
    assert not server.holds(broken.model, broken.ordinal)


def test_a_first_build_that_does_not_load_leaves_nothing(local_platform: LocalPlatform) -> None:
    """Without a previous version the slot holds nothing of the model afterwards."""
    broken = local_platform.build("stillborn", 1, behaviour="refuse")
    with pytest.raises(LoadFailedError):
        local_platform.target.load(broken, A, timeout_s=60)
    assert not (Home(local_platform.home).repository(A) / "stillborn").exists()


def test_a_build_without_its_portable_folder_is_refused(local_platform: LocalPlatform) -> None:
    """A missing folder is said before any server is touched."""
    build = local_platform.build("empty", 1)
    (build.path / "portable" / "empty" / "config.pbtxt").unlink()
    with pytest.raises(BuildIncompleteError):
        local_platform.target.load(build, A, timeout_s=60)


def test_loading_twice_is_loading_once(local_platform: LocalPlatform) -> None:
    """A second load of the same build touches neither the repository nor the server."""
    target, home = local_platform.target, Home(local_platform.home)
    build = local_platform.build("twice", 3)
    target.load(build, A, timeout_s=60)
    folder = home.repository(A) / "twice"
    before = folder.stat().st_ino
    target.load(build, A, timeout_s=60)
    assert folder.stat().st_ino == before


def test_published_files_are_shared_and_never_written(local_platform: LocalPlatform) -> None:
    """The slot's files are links to the build's, where the file system has links."""
    build = local_platform.build("linked", 1)
    local_platform.target.load(build, A, timeout_s=60)
    source = build.path / "portable" / "linked" / "1" / "model.py"
    placed = Home(local_platform.home).repository(A) / "linked" / "1" / "model.py"
    assert placed.stat().st_ino == source.stat().st_ino
    assert sorted(path.name for path in source.parent.iterdir()) == ["__pycache__", "model.py"]


def test_direct_inference_passes_the_gateway(local_platform: LocalPlatform) -> None:
    """A version without any traffic answers `infer`, strings and optional inputs included."""
    target = local_platform.target
    build = local_platform.build("direct", 7)
    target.load(build, B, timeout_s=60)
    answer = target.infer(build.model, B, {"x": X}, timeout_s=10)
    np.testing.assert_array_equal(answer["y"], np.full((1, 4), 9, np.float32))
    words = np.array([["é".encode()]], object)
    answer = target.infer(build.model, B, {"x": X, "s": words}, timeout_s=10)
    assert answer["t"].tolist() == [["é".encode()]]
    assert local_platform.infer("direct").status == 404
    with pytest.raises(InferenceFailedError, match="unexpected shape"):
        target.infer(build.model, B, {"x": np.ones((1, 5), np.float32)}, timeout_s=10)
    with pytest.raises(SlotNotReadyError):
        target.infer(build.model, B, {"x": X}, replica=3, timeout_s=10)


def test_unloading_lets_go_of_one_slot_only(local_platform: LocalPlatform) -> None:
    """After `unload` a slot neither serves nor desires the model; the other slot does."""
    target = local_platform.target
    build = local_platform.build("leaving", 1)
    target.load(build, A, timeout_s=60)
    target.load(build, B, timeout_s=60)
    target.unload(build.model, A)
    target.unload(build.model, A)
    state = target.observe()
    assert not state.in_slot(A)[0].holds(build.model, build.ordinal)
    assert state.in_slot(B)[0].holds(build.model, build.ordinal)
    assert not (Home(local_platform.home).repository(A) / "leaving").exists()


def test_scaling_a_slot_loses_nothing(local_platform: LocalPlatform) -> None:
    """A second server joins with every model loaded, and leaves again, while callers ask."""
    target = local_platform.target
    build = local_platform.build("scaled", 4)
    target.load(build, A, timeout_s=60)
    target.set_routes([all_to("scaled", "a", build)])

    def ready(count: int) -> bool:
        servers = target.observe().in_slot(A)
        return len(servers) == count and all(
            one.state is ServerState.READY and one.holds(build.model, build.ordinal)
            for one in servers
        )

    with Traffic(local_platform, "scaled") as traffic:
        traffic.wait_for(20)
        target.scale(A, 2)
        until(lambda: ready(2))
        second = local_platform.pid("triton-a-1")
        traffic.wait_for(60)
        target.scale(A, 1)
        until(lambda: second not in {one.pid for one in local_platform.processes()})
        traffic.wait_for(20)
    assert traffic.failures == []
    assert {version for _, version, _ in traffic.answers} == {4}
    with pytest.raises(InvalidValueError):
        target.scale(SlotName("z"), 1)


def test_a_server_that_joins_during_a_load_gets_it_before_traffic(
    local_platform: LocalPlatform, tmp_path: Path
) -> None:
    """Whoever asks the new build from the moment it is loaded gets an answer from either server."""
    target, gate = local_platform.target, tmp_path / "gate"
    gated = local_platform.build("gated", 1, behaviour=f"gate-{gate}")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(target.load, gated, A, timeout_s=60)
        until(lambda: bool(DesiredFile(Home(local_platform.home)).require().loading))
        target.scale(A, 2)
        until(lambda: local_platform.phase("triton-a-1") in (Phase.LOADING, Phase.READY))
        gate.touch()
        loading.result()
    target.set_routes([all_to("gated", "a", gated)])
    with Traffic(local_platform, "gated") as traffic:
        until(lambda: local_platform.phase("triton-a-1") is Phase.READY)
        traffic.wait_for(60)
    assert traffic.failures == []
    assert traffic.versions() == {1}
    target.unload(gated.model, A)
    target.scale(A, 1)
    until(lambda: local_platform.phase("triton-a-1") is None)


def test_setting_the_same_routes_again_changes_nothing(local_platform: LocalPlatform) -> None:
    """An equal table is acknowledged at once; the observed routes are those that were set."""
    target = local_platform.target
    build = local_platform.build("steady", 1)
    target.load(build, A, timeout_s=60)
    split = split_of("steady", ("a", build, 10_000))
    target.set_routes([split])
    path = Home(local_platform.home).envoy / "routes.json"
    before = path.stat().st_ino
    target.set_routes([split])
    assert path.stat().st_ino == before
    assert target.observe().routes == {"steady": split}
