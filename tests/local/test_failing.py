"""What happens when processes are killed: servers, the gateway, the supervisor itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from platform_fixtures import A, B, LocalPlatform, Traffic, all_to, running_platform, until

from conch.core import ConchError, ServerState
from conch.local import (
    BuildQuarantinedError,
    GatewayUnavailableError,
    Home,
    LocalSettings,
    LocalTarget,
    Runtime,
    SlotNotReadyError,
    SupervisorMissingError,
    launch,
    running,
    stop,
    wait_until_ready,
)
from conch.local.commands import shared_memory_prefix

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, serving_runtime: Runtime
) -> Iterator[LocalPlatform]:
    """A platform to break: two servers in slot a, one in slot b."""
    settings = LocalSettings(inference_port=0, slots={"a": 2, "b": 1})
    with running_platform(tmp_path_factory.mktemp("broken"), serving_runtime, settings) as one:
        yield one


def test_a_supervisor_without_a_memory_starts_anew(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """Where the observed file is broken, what runs is ended and everything starts again."""
    settings = LocalSettings(inference_port=0, slots={"a": 1})
    with running_platform(tmp_path, serving_runtime, settings) as platform:
        supervisor = running(tmp_path)
        assert supervisor is not None
        before = {one.pid for one in platform.processes()}
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: running(tmp_path) is None)
        Home(tmp_path).observed.write_text("{")
        launch(tmp_path)
        wait_until_ready(tmp_path)
        assert before.isdisjoint(one.pid for one in platform.processes())


def test_a_killed_server_costs_no_request(platform: LocalPlatform) -> None:
    """With two servers, `kill -9` of one loses nothing; it comes back with its models loaded."""
    target = platform.target
    build = platform.build("replicated", 1)
    target.load(build, A, timeout_s=60)
    target.set_routes([all_to("replicated", "a", build)])
    victim = platform.pid("triton-a-0")
    with Traffic(platform, "replicated") as traffic:
        traffic.wait_for(60)
        os.kill(victim, signal.SIGKILL)
        until(lambda: _restarted(platform, "a", 0))
        traffic.wait_for(100)
    assert traffic.failures == []
    server = target.observe().in_slot(A)[0]
    assert server.holds(build.model, build.ordinal)
    assert (server.restarts, server.reason) == (1, "")
    assert platform.pid("triton-a-0") != victim


def test_a_server_alone_in_its_slot_comes_back_by_itself(platform: LocalPlatform) -> None:
    """After `kill -9` of a slot's only server its model answers again, on the same ports."""
    target = platform.target
    build = platform.build("alone", 2)
    target.load(build, B, timeout_s=60)
    target.set_routes([all_to("alone", "b", build)])
    before = target.observe().in_slot(B)[0].endpoints
    os.kill(platform.pid("triton-b-0"), signal.SIGKILL)
    assert until(lambda: _answers(platform, "alone", 2), timeout_s=20) < 10
    assert target.observe().in_slot(B)[0].endpoints == before


def test_a_killed_gateway_comes_back_with_its_routes(platform: LocalPlatform) -> None:
    """Envoy starts again on its port with the table that was acknowledged last."""
    target = platform.target
    build = platform.build("routed", 1)
    target.load(build, A, timeout_s=60)
    target.set_routes([all_to("routed", "a", build)])
    os.kill(platform.pid("envoy"), signal.SIGKILL)
    until(lambda: not target.observe().gateway_ready)
    until(lambda: _answers(platform, "routed", 1))
    assert target.observe().routes.keys() == {"routed"}


def test_routes_are_not_set_while_the_gateway_is_down(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """Without a gateway to acknowledge, the call fails and the previous table is kept."""
    target = LocalTarget(tmp_path, runtime=serving_runtime, settings=LocalSettings())
    with pytest.raises(GatewayUnavailableError):
        target.set_routes([])
    assert target.observe().routes == {}
    assert [one.state for one in target.observe().servers] == [ServerState.STOPPED] * 2


def test_a_removed_home_ends_everything(tmp_path: Path, serving_runtime: Runtime) -> None:
    """Nothing goes on running for a folder that is not there any more."""
    home, settings = tmp_path / "home", LocalSettings(inference_port=0, slots={"a": 1})
    with running_platform(home, serving_runtime, settings) as platform:
        supervisor = running(home)
        assert supervisor is not None
        shutil.rmtree(home)
        until(lambda: platform.processes() == [])
        until(lambda: _has_ended(supervisor))


def test_a_port_in_use_is_waited_for(tmp_path: Path, serving_runtime: Runtime) -> None:
    """A gateway that cannot listen is not ready; once the port is free it is."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = LocalSettings(inference_port=port, slots={"a": 1}, start_timeout_s=0.5)
        LocalTarget(tmp_path, runtime=serving_runtime, settings=settings)
        try:
            launch(tmp_path)
            with pytest.raises(SupervisorMissingError, match="envoy"):
                wait_until_ready(tmp_path, timeout_s=1.5)
            other.close()
            assert wait_until_ready(tmp_path, timeout_s=30).inference_port == port
        finally:
            stop(tmp_path)


def test_a_killed_supervisor_stops_nothing_and_the_next_takes_over(
    platform: LocalPlatform,
) -> None:
    """Inference goes on without a supervisor; the next one adopts every process."""
    target = platform.target
    build = platform.build("orphaned", 1)
    target.load(build, A, timeout_s=60)
    target.set_routes([all_to("orphaned", "a", build)])
    names = ["envoy", "triton-a-0", "triton-a-1", "triton-b-0"]
    before = {name: platform.pid(name) for name in names}
    supervisor = running(platform.home)
    assert supervisor is not None
    with Traffic(platform, "orphaned") as traffic:
        traffic.wait_for(30)
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: running(platform.home) is None)
        traffic.wait_for(60)
        assert launch(platform.home) != supervisor
        wait_until_ready(platform.home)
        traffic.wait_for(60)
    assert traffic.failures == []
    assert {name: platform.pid(name) for name in names} == before
    # And it watches them: what is killed now is started again.
    os.kill(before["triton-b-0"], signal.SIGKILL)
    until(lambda: platform.pid_or_none("triton-b-0") not in (None, before["triton-b-0"]))
    wait_until_ready(platform.home)


def test_what_ended_while_nobody_watched_is_started_again(platform: LocalPlatform) -> None:
    """A server that died together with the supervisor is replaced, its children ended."""
    supervisor = running(platform.home)
    assert supervisor is not None
    build = platform.build("both", 1)
    platform.target.load(build, B, timeout_s=60)
    victim = platform.pid("triton-b-0")
    os.kill(supervisor, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    until(lambda: running(platform.home) is None)
    launch(platform.home)
    wait_until_ready(platform.home)
    assert platform.pid("triton-b-0") != victim
    assert platform.target.observe().in_slot(B)[0].holds(build.model, build.ordinal)
    marks = [one.environ()["CONCH_SUPERVISED_NAME"] for one in platform.processes()]
    assert sum(mark == "triton-b-0" for mark in marks) >= 1


def test_what_a_killed_supervisor_left_is_stopped_too(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """`stop` ends servers and gateway although nobody watches them any more."""
    settings = LocalSettings(inference_port=0, slots={"a": 1})
    with running_platform(tmp_path, serving_runtime, settings) as platform:
        supervisor = running(tmp_path)
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: running(tmp_path) is None)
        assert platform.processes()
        stop(tmp_path)
        assert platform.processes() == []


def test_one_home_has_one_supervisor(platform: LocalPlatform) -> None:
    """Launching again returns the supervisor that runs."""
    assert launch(platform.home) == running(platform.home)


def test_a_build_that_crashes_servers_is_quarantined(platform: LocalPlatform) -> None:
    """Two crashes over one build end its loading; other models of the slot are served again."""
    target = platform.target
    good, bad = platform.build("bystander", 1), platform.build("poison", 1, behaviour="crash")
    target.load(good, B, timeout_s=60)
    target.set_routes([all_to("bystander", "b", good)])
    known = {None, platform.pid("triton-b-0")}
    for _ in range(2):
        with pytest.raises(SlotNotReadyError):
            target.load(bad, B, timeout_s=60)
        until(lambda: platform.pid_or_none("triton-b-0") not in known)
        known.add(platform.pid_or_none("triton-b-0"))
        until(lambda: _answers(platform, "bystander", 1))
        wait_until_ready(platform.home)  # or the next load is refused, and crashes nothing
    until(lambda: bad.build_id in target.quarantined())
    stop(platform.home)
    assert bad.build_id in target.quarantined(), "a restart of everything forgets no quarantine"
    launch(platform.home)
    assert wait_until_ready(platform.home).inference_port == platform.port
    assert "crashed 2 times" in target.quarantined()[bad.build_id]
    with pytest.raises(BuildQuarantinedError) as error:
        target.load(bad, B, timeout_s=60)
    assert error.value.code == "build-quarantined"
    assert _answers(platform, "bystander", 1)
    target.pardon(bad.build_id)
    until(lambda: bad.build_id not in target.quarantined())


def test_a_clean_stop_leaves_no_process_and_no_shared_memory(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """`stop` drains and ends everything; a second start serves what was loaded and routed."""
    settings = LocalSettings(inference_port=0)
    with running_platform(tmp_path / "home", serving_runtime, settings) as platform:
        build = platform.build("lasting", 1)
        platform.target.load(build, A, timeout_s=60)
        platform.target.set_routes([all_to("lasting", "a", build)])
        with Traffic(platform, "lasting") as traffic:
            traffic.wait_for(20)
        stop(platform.home)
        assert traffic.failures == []
        assert platform.processes() == []
        assert running(platform.home) is None
        assert list(Path("/dev/shm").glob("conch_*_triton-*")) == _others(platform)
        (Home(platform.home).staging(A) / "lasting.1.new").mkdir()  # as a killed load leaves it
        launch(platform.home)
        observed = wait_until_ready(platform.home)
        assert observed.inference_port is not None
        assert list(Home(platform.home).staging(A).iterdir()) == []
        again = LocalPlatform(
            home=platform.home, target=platform.target, port=observed.inference_port
        )
        assert again.infer("lasting").version == 1
    assert platform.processes() == []


def _others(platform: LocalPlatform) -> list[Path]:
    """Return shared memory of homes other than this."""
    mine = shared_memory_prefix(Home(platform.home), "")[: len("conch_01234567_")]
    found = Path("/dev/shm").glob("conch_*_triton-*")
    return [path for path in found if not path.name.startswith(mine)]


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _restarted(platform: LocalPlatform, slot: str, replica: int) -> bool:
    server = next(
        one
        for one in platform.target.observe().servers
        if (one.slot, one.replica) == (slot, replica)
    )
    return server.restarts > 0 and server.state is ServerState.READY


def _answers(platform: LocalPlatform, model: str, version: int) -> bool:
    try:
        answer = platform.infer(model)
    except (OSError, ConchError):
        return False
    return answer.status == 200 and answer.version == version
