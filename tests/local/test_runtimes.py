"""The target's promises, kept by every runtime: the wheel's Triton, one by path, one by URL.

Real Triton throughout. The one by path is the wheel's own, laid out elsewhere as Triton's images
have it; those by URL are started by the test, as somebody else would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from given_servers import HandStarted, hand_started
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
from ports import free_port
from tritonclient.grpc import InferenceServerClient

from conch.core import Ordinal, ServerState, TritonName
from conch.local import (
    BuildIncompleteError,
    GivenServer,
    Home,
    LoadFailedError,
    LocalSettings,
    LocalTarget,
    Runtime,
    ServerGivenError,
    ServerUnsuitableError,
    examine,
    unusable,
)

pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A platform on one of the runtimes.

    Attributes:
        given: By slot, the servers that were started by hand; none for other runtimes.
    """

    platform: LocalPlatform
    given: dict[str, HandStarted]


@pytest.fixture(scope="module", params=["wheel", "path", "url"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    serving_runtime: Runtime,
) -> Iterator[Served]:
    """A platform with one server in each of two slots."""
    home = tmp_path_factory.mktemp(f"by-{request.param}")
    if request.param == "url":
        with (
            hand_started(home, serving_runtime) as (servers, settings),
            running_platform(home, serving_runtime, settings) as platform,
        ):
            yield Served(platform=platform, given=dict(servers))
        return
    settings = LocalSettings(inference_port=0)
    if request.param == "path":
        elsewhere = laid_out(tmp_path_factory.mktemp("opt"), serving_runtime)
        settings = LocalSettings(inference_port=0, tritonserver=elsewhere)
    with running_platform(home, serving_runtime, settings) as platform:
        yield Served(platform=platform, given={})


def laid_out(folder: Path, runtime: Runtime) -> Path:
    """Lay the wheel's Triton out as in Triton's images; return the path of its `tritonserver`."""
    path = folder / "tritonserver" / "bin" / "tritonserver"
    path.parent.mkdir(parents=True)
    path.symlink_to(runtime.tritonserver)
    (folder / "tritonserver" / "backends").symlink_to(runtime.backends)
    return path


def test_a_loaded_build_answers_directly_and_through_the_gateway(served: Served) -> None:
    """It is seen in its slot, answers one server and, once routed, callers over HTTP and gRPC."""
    platform, target = served.platform, served.platform.target
    build = platform.build("seen", 1)
    target.load(build, A, timeout_s=60)
    server = target.observe().in_slot(A)[0]
    assert server.state is ServerState.READY
    assert server.holds(build.model, build.ordinal)
    assert not target.observe().in_slot(B)[0].holds(build.model, build.ordinal)
    assert target.infer(build.model, A, {"x": X}, timeout_s=20)["y"][0, 0] == 3
    target.set_routes([*target.routes().values(), all_to("seen", "a", build)])
    with Traffic(platform, "seen") as traffic:
        traffic.wait_for(60)
    assert traffic.failures == []
    assert traffic.versions() == {1}


def test_traffic_moves_between_slots_and_back_without_a_failed_request(served: Served) -> None:
    """Two versions of a model side by side: loading one, weights and going back cost nobody."""
    platform, target = served.platform, served.platform.target
    first, second = platform.build("moved", 1), platform.build("moved", 2)
    target.load(first, A, timeout_s=60)
    others = [split for name, split in target.routes().items() if name != "moved"]
    target.set_routes([*others, all_to("moved", "a", first)])
    with Traffic(platform, "moved") as traffic:
        traffic.wait_for(20)
        target.load(second, B, timeout_s=60)
        half = split_of("moved", ("b", second, 5000), ("a", first, 5000))
        for split in (half, all_to("moved", "b", second), all_to("moved", "a", first)):
            target.set_routes([*others, split])
            traffic.wait_for(40)
    assert traffic.failures == []
    assert traffic.versions() == {1, 2}


def test_a_build_that_is_refused_leaves_the_former_one_in_service(served: Served) -> None:
    """The error has Triton's own words; the next good version takes its place."""
    target = served.platform.target
    good, bad = (
        served.platform.build("kept", 1),
        served.platform.build("kept", 2, behaviour="refuse"),
    )
    target.load(good, A, timeout_s=60)
    with pytest.raises(LoadFailedError, match="these weights are broken"):
        target.load(bad, A, timeout_s=60)
    assert target.infer(good.model, A, {"x": X}, timeout_s=20)["y"][0, 0] == 3
    better = served.platform.build("kept", 3)
    target.load(better, A, timeout_s=60)
    assert target.infer(good.model, A, {"x": X}, timeout_s=20)["y"][0, 0] == 5


def test_unloading_is_idempotent(served: Served) -> None:
    """What is not there is fine."""
    target = served.platform.target
    build = served.platform.build("gone", 1)
    target.load(build, B, timeout_s=60)
    for _ in range(2):
        target.unload(build.model, B)
        assert not target.observe().in_slot(B)[0].holds(build.model, build.ordinal)


def test_a_build_in_another_flavour_than_the_runtime_offers_is_refused(served: Served) -> None:
    """The message names what it needs and what there is; the slot's repository is untouched."""
    build = served.platform.build("foreign", 1)
    (build.path / "portable").rename(build.path / "native")
    config = build.path / "native" / build.model / "config.pbtxt"
    config.write_text(config.read_text().replace('"python"', '"onnxruntime"'))
    with pytest.raises(BuildIncompleteError, match=r"onnxruntime.*offers python"):
        served.platform.target.load(build, A, timeout_s=60)
    repository = Home(served.platform.home).repository(A)
    assert build.model not in {path.name for path in repository.iterdir()}


def test_servers_of_somebody_else_are_not_scaled(served: Served) -> None:
    """Their number is theirs; the other runtimes take the same number for a change of nothing."""
    target = served.platform.target
    if served.given:
        with pytest.raises(ServerGivenError):
            target.scale(A, 2)
    else:
        target.scale(A, 1)
    assert len(target.observe().in_slot(A)) == 1


def test_a_given_server_that_was_started_again_holds_what_it_should(
    serving_runtime: Runtime, tmp_path: Path
) -> None:
    """Explicit mode loads nothing at start: it gets no traffic until it was told, and then does."""
    with (
        hand_started(tmp_path, serving_runtime) as (servers, settings),
        running_platform(tmp_path, serving_runtime, settings) as platform,
    ):
        build = platform.build("again", 1)
        platform.target.load(build, A, timeout_s=60)
        platform.target.set_routes([all_to("again", "a", build)])
        servers["a"].kill()
        until(lambda: platform.target.observe().in_slot(A)[0].state is not ServerState.READY)
        servers["a"].start()
        until(lambda: platform.infer("again").status == 200)
        assert platform.target.observe().in_slot(A)[0].holds(build.model, build.ordinal)


def test_a_given_server_that_was_started_again_unseen_holds_what_it_should(
    serving_runtime: Runtime, tmp_path: Path
) -> None:
    """It answers at every probe and holds nothing: as after a start between two of them."""
    with (
        hand_started(tmp_path, serving_runtime, ("a",)) as (servers, settings),
        running_platform(tmp_path, serving_runtime, settings) as platform,
    ):
        builds = [platform.build(model, 1) for model in ("one", "two")]
        for build in builds:
            platform.target.load(build, A, timeout_s=60)
        until(lambda: platform.asserted("triton-a-0") == {"one": 1, "two": 1})
        with InferenceServerClient(f"127.0.0.1:{servers['a'].given.grpc_port}") as triton:
            triton.unload_model("one")
        until(lambda: platform.target.observe().in_slot(A)[0].holds(builds[0].model, Ordinal(1)))
        assert platform.target.observe().in_slot(A)[0].restarts == 1


@pytest.mark.parametrize(
    ("mode", "same_folder", "words"),
    [("none", True, "when it is told to"), ("explicit", False, "does not see the folder")],
    ids=["not explicit", "another folder"],
)
def test_a_server_that_cannot_be_worked_with_is_refused(
    serving_runtime: Runtime, tmp_path: Path, mode: str, same_folder: bool, words: str
) -> None:
    """`conch up` and `conch doctor` hear why before anything starts; nothing is left behind."""
    repository = Home(tmp_path.resolve()).repository(A)
    repository.mkdir(parents=True)
    seen = repository if same_folder else tmp_path / "other"
    log = tmp_path / "hand.log"
    with HandStarted(runtime=serving_runtime, repository=seen, log=log, mode=mode) as server:
        address = f"127.0.0.1:{server.given.grpc_port}"
        with pytest.raises(ServerUnsuitableError, match=words):
            examine(address, repository)
        settings = LocalSettings(slots={"a": 1}, servers={"a": (server.given,)})
        (problem,) = unusable(settings, serving_runtime, tmp_path)
        assert isinstance(problem, ServerUnsuitableError)
        assert list(repository.iterdir()) == []


def test_a_server_that_is_away_is_told_apart(serving_runtime: Runtime, tmp_path: Path) -> None:
    """It may come later, so it is an error that may pass."""
    away = GivenServer(host="127.0.0.1", http_port=free_port(), grpc_port=free_port())
    settings = LocalSettings(slots={"a": 1}, servers={"a": (away,)})
    (problem,) = unusable(settings, serving_runtime, tmp_path)
    assert problem.code == "slot-not-ready"
    assert problem.retryable


def test_a_tritonserver_that_cannot_be_run_is_told(
    serving_runtime: Runtime, tmp_path: Path
) -> None:
    """Both the program and its backends are looked at; where both are there, nothing is said."""
    missing = LocalSettings(tritonserver=tmp_path / "bin" / "tritonserver")
    found = unusable(missing, serving_runtime, tmp_path)
    assert [one.code for one in found] == ["tritonserver-unusable"] * 2
    there = LocalSettings(tritonserver=laid_out(tmp_path, serving_runtime))
    assert unusable(there, serving_runtime, tmp_path) == []


def test_a_server_tells_which_backends_it_has(served: Served) -> None:
    """Asked over gRPC it names the Python backend and no other, and keeps no trace."""
    target = served.platform.target
    address = target.observe().in_slot(A)[0].endpoints["grpc"]
    repository = Home(served.platform.home).repository(A)
    before = {path.name for path in repository.iterdir()}
    assert examine(address, repository) == {"python"}
    assert {path.name for path in repository.iterdir()} == before
    held = {one.model for one in target.observe().in_slot(A)[0].models}
    assert held <= {TritonName(name) for name in before}


def test_a_slot_is_given_or_supervised(serving_runtime: Runtime, tmp_path: Path) -> None:
    """One slot may be somebody else's and the other conch's own; each does its part."""
    with hand_started(tmp_path, serving_runtime, ("a",)) as (_, given):
        settings = LocalSettings(
            inference_port=0, slots={"a": 1, "b": 1}, servers=dict(given.servers)
        )
        with running_platform(tmp_path, serving_runtime, settings) as platform:
            build = platform.build("both", 1)
            for slot in (A, B):
                platform.target.load(build, slot, timeout_s=60)
                assert platform.target.infer(build.model, slot, {"x": X}, timeout_s=20)
            assert platform.pid_or_none("triton-a-0") is None
            assert platform.pid("triton-b-0")
    assert isinstance(platform.target, LocalTarget)
