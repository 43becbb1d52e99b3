"""What the supervisor does next, as a table of worlds: no process is started here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import Ordinal, SlotName, TritonName
from conch.local import LocalSettings, Runtime
from conch.local.deciding import (
    PROBATION_S,
    Assert,
    Crashes,
    DrainGateway,
    Effect,
    End,
    Plan,
    Start,
    Sweep,
    decide,
)
from conch.local.desired import Desired, DesiredLoad, LatestLoad
from conch.local.instances import AssertionResult, Instance, Kind, Phase, Refusal, Seen

NOW = 1_000.0
A = SlotName("a")
NAME = "triton-a-0"
LOAD = DesiredLoad(
    model=TritonName("m"), ordinal=Ordinal(3), build_id="m-b3", path=Path("/builds/m-b3")
)
RUNTIME = Runtime(root=Path("/runtime"), library_directory=Path("/lib"))
IDLE = Desired(
    settings=LocalSettings(slots={"a": 1}, drain_s=1.0, exit_timeout_s=10, start_timeout_s=60),
    runtime=RUNTIME,
)
LOADED = replace(IDLE, loads={A: (LOAD,)})
FRESH = Instance(name=NAME, kind=Kind.TRITON, command="c1", slot=A)
ENVOY = Instance(name="envoy", kind=Kind.ENVOY, command="e1")
NO_CRASHES = Crashes(counts={}, reasons={})


def server(phase: Phase, **changes: Any) -> Instance:
    """A server that entered its phase ten seconds ago."""
    given = {"phase": phase, "since": NOW - 10, "pid": 7, "started": 1.0, "ports": {"grpc": 1}}
    return replace(FRESH, **{**given, **changes})


def step(
    instance: Instance | None,
    seen: Seen,
    *,
    desired: Desired = IDLE,
    wanted: Instance | None = FRESH,
    crashes: Crashes = NO_CRASHES,
    stopping: bool = False,
    now: float = NOW,
) -> Plan:
    """Decide about one server."""
    return decide(
        desired=desired,
        wanted={} if wanted is None else {wanted.name: wanted},
        instances={} if instance is None else {instance.name: instance},
        seen={} if instance is None else {instance.name: seen},
        crashes=crashes,
        stopping=stopping,
        now=now,
    )


ALIVE = Seen(alive=True)
READY = Seen(alive=True, ready=True)
DEAD = Seen(exit="killed by SIGKILL")
FAULT = Seen(exit="killed by SIGSEGV", fault=True)


@pytest.mark.parametrize(
    ("instance", "seen", "options", "phase", "effects"),
    [
        pytest.param(None, Seen(), {}, Phase.STARTING, (Start(name=NAME),), id="new: start"),
        pytest.param(
            server(Phase.WAITING, retry_at=NOW + 1), Seen(), {}, Phase.WAITING, (), id="back-off"
        ),
        pytest.param(
            server(Phase.WAITING, retry_at=NOW),
            Seen(),
            {},
            Phase.STARTING,
            (Start(name=NAME),),
            id="back-off over",
        ),
        pytest.param(
            server(Phase.WAITING), Seen(), {"wanted": None}, None, (), id="waiting, not wanted"
        ),
        pytest.param(server(Phase.STARTING), ALIVE, {}, Phase.STARTING, (), id="not ready yet"),
        pytest.param(
            server(Phase.STARTING, since=NOW - 61),
            ALIVE,
            {},
            Phase.STARTING,
            (End(name=NAME, kill=True),),
            id="never ready: killed",
        ),
        pytest.param(server(Phase.STARTING), READY, {}, Phase.READY, (), id="ready, no loads"),
        pytest.param(
            server(Phase.STARTING),
            READY,
            {"desired": LOADED},
            Phase.LOADING,
            (Assert(name=NAME, loads=(LOAD,), unloads=()),),
            id="ready, loads due first",
        ),
        pytest.param(
            server(Phase.LOADING),
            Seen(alive=True, asserting=True),
            {"desired": LOADED},
            Phase.LOADING,
            (),
            id="still loading",
        ),
        pytest.param(
            server(Phase.LOADING),
            Seen(alive=True, assertion=AssertionResult(asserted={"m": 3}, refused={})),
            {"desired": LOADED},
            Phase.READY,
            (),
            id="loaded",
        ),
        pytest.param(
            server(Phase.LOADING),
            Seen(alive=True, assertion=AssertionResult(asserted={}, refused={})),
            {"desired": LOADED},
            Phase.LOADING,
            (Assert(name=NAME, loads=(LOAD,), unloads=()),),
            id="more came meanwhile: loaded before there is traffic",
        ),
        pytest.param(
            server(Phase.READY, asserted={"m": 2}),
            READY,
            {"desired": LOADED},
            Phase.READY,
            (Assert(name=NAME, loads=(LOAD,), unloads=()),),
            id="another version desired",
        ),
        pytest.param(
            server(Phase.READY, asserted={"gone": 2}),
            READY,
            {},
            Phase.READY,
            (Assert(name=NAME, loads=(), unloads=("gone",)),),
            id="a model not desired any more",
        ),
        pytest.param(
            server(Phase.READY, refused={"m": Refusal(ordinal=3, reason="no", at=NOW - 59)}),
            READY,
            {"desired": LOADED},
            Phase.READY,
            (),
            id="refused lately",
        ),
        pytest.param(
            server(Phase.READY, refused={"m": Refusal(ordinal=3, reason="no", at=NOW - 61)}),
            READY,
            {"desired": LOADED},
            Phase.READY,
            (Assert(name=NAME, loads=(LOAD,), unloads=()),),
            id="refused a minute ago",
        ),
        pytest.param(
            server(Phase.READY),
            READY,
            {
                "desired": LOADED,
                "crashes": Crashes(counts={"m-b3": 2}, reasons={"m-b3": "crashed"}),
            },
            Phase.READY,
            (),
            id="quarantined",
        ),
        pytest.param(
            server(Phase.READY),
            DEAD,
            {},
            Phase.WAITING,
            (Sweep(name=NAME),),
            id="crashed",
        ),
        pytest.param(
            server(Phase.READY),
            ALIVE,
            {"wanted": None},
            Phase.DRAINING,
            (),
            id="not wanted: out of service first",
        ),
        pytest.param(
            server(Phase.READY),
            ALIVE,
            {"wanted": replace(FRESH, command="c2")},
            Phase.DRAINING,
            (),
            id="other settings: drained",
        ),
        pytest.param(
            server(Phase.DRAINING, since=NOW - 0.9), ALIVE, {}, Phase.DRAINING, (), id="draining"
        ),
        pytest.param(
            server(Phase.DRAINING, since=NOW - 1.0),
            ALIVE,
            {},
            Phase.STOPPING,
            (End(name=NAME, kill=False),),
            id="drained: SIGTERM",
        ),
        pytest.param(
            server(Phase.STOPPING, since=NOW - 14), ALIVE, {}, Phase.STOPPING, (), id="ending"
        ),
        pytest.param(
            server(Phase.STOPPING, since=NOW - 16),
            ALIVE,
            {},
            Phase.STOPPING,
            (End(name=NAME, kill=True),),
            id="does not end: SIGKILL",
        ),
        pytest.param(
            server(Phase.STOPPING),
            DEAD,
            {"wanted": None},
            None,
            (Sweep(name=NAME),),
            id="ended as told",
        ),
        pytest.param(
            server(Phase.STOPPING),
            DEAD,
            {},
            Phase.WAITING,
            (Sweep(name=NAME),),
            id="ended, wanted again",
        ),
        pytest.param(
            server(Phase.READY, unready_since=NOW - 61),
            Seen(alive=True, ready=False),
            {},
            Phase.READY,
            (End(name=NAME, kill=True),),
            id="hung: killed",
        ),
        pytest.param(
            server(Phase.READY),
            ALIVE,
            {"stopping": True},
            Phase.DRAINING,
            (),
            id="stop, no gateway",
        ),
    ],
)
def test_each_situation_has_its_step(
    instance: Instance | None,
    seen: Seen,
    options: dict[str, Any],
    phase: Phase | None,
    effects: tuple[Effect, ...],
) -> None:
    """Each situation leads to the stated phase and effects."""
    plan = step(instance, seen, **options)
    found = plan.instances.get(NAME)
    assert (None if found is None else found.phase) == phase
    assert plan.effects == effects


@pytest.mark.parametrize(
    ("phase", "seen", "age_s", "blamed"),
    [
        pytest.param(Phase.READY, FAULT, 0.0, True, id="crashed soon after"),
        pytest.param(Phase.READY, FAULT, PROBATION_S, True, id="just within the time"),
        pytest.param(Phase.READY, FAULT, PROBATION_S + 1, False, id="long after"),
        pytest.param(Phase.READY, DEAD, 0.0, False, id="killed by somebody"),
        pytest.param(Phase.STOPPING, FAULT, 0.0, False, id="it was told to end"),
    ],
)
def test_a_crash_while_serving_is_blamed_on_the_latest_load(
    phase: Phase, seen: Seen, age_s: float, blamed: bool
) -> None:
    """What the slot took last is suspected for a while, even when it was let go again meanwhile."""
    desired = replace(IDLE, latest={A: LatestLoad(load=LOAD, at=NOW - age_s)})
    first = step(server(phase), seen, desired=desired)
    assert first.crashes.counts == ({"m-b3": 1} if blamed else {})
    second = step(server(phase), seen, desired=desired, crashes=first.crashes)
    assert set(second.crashes.reasons) == ({"m-b3"} if blamed else set())


def test_restarts_back_off_and_are_counted() -> None:
    """The first restart is at once, later ones wait twice as long each, 30 s at most."""
    instance, delays = server(Phase.STARTING), []
    for _ in range(10):
        plan = step(instance, DEAD)
        waiting = plan.instances[NAME]
        delays.append(waiting.retry_at - NOW)
        instance = replace(server(Phase.STARTING), failures=waiting.failures)
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert plan.instances[NAME].last_exit == "killed by SIGKILL"
    assert plan.instances[NAME].restarts == 1


def test_a_minute_of_health_forgives_earlier_failures() -> None:
    """A server that was ready for a minute starts again at once."""
    steady = server(Phase.READY, failures=8, since=NOW - 60)
    assert step(steady, DEAD).instances[NAME].retry_at == NOW
    shaky = server(Phase.READY, failures=8, since=NOW - 59)
    assert step(shaky, DEAD).instances[NAME].retry_at > NOW


def test_a_restarted_server_keeps_its_ports_and_forgets_what_it_held() -> None:
    """Ports stay for the next start; nothing counts as loaded."""
    plan = step(server(Phase.READY, asserted={"m": 3}), DEAD)
    assert plan.instances[NAME].ports == {"grpc": 1}
    assert plan.instances[NAME].asserted == {}


def test_two_crashes_over_one_build_quarantine_it() -> None:
    """The culprit of the second crash is quarantined with the reason; a pardon forgets both."""
    seen = Seen(exit="killed by SIGSEGV", culprit=LOAD)
    first = step(server(Phase.READY), seen)
    assert first.crashes == Crashes(counts={"m-b3": 1}, reasons={})
    second = step(server(Phase.LOADING), seen, crashes=first.crashes)
    assert second.crashes.counts == {"m-b3": 2}
    assert "killed by SIGSEGV" in second.crashes.reasons["m-b3"]
    pardoned = step(
        server(Phase.READY),
        READY,
        desired=replace(IDLE, pardoned=("m-b3",)),
        crashes=second.crashes,
    )
    assert pardoned.crashes == NO_CRASHES


def test_a_server_that_was_told_to_end_blames_nobody() -> None:
    """An end that was asked for counts neither as a restart nor as a crash of a build."""
    plan = step(server(Phase.STOPPING), Seen(exit="exit status 0", culprit=LOAD))
    assert plan.crashes == NO_CRASHES
    assert plan.instances[NAME].restarts == 0
    assert plan.instances[NAME].retry_at == NOW


def test_the_gateway_stops_first() -> None:
    """When everything stops, servers stay until the gateway has drained and ended."""
    gateway = replace(ENVOY, phase=Phase.READY, pid=8, since=NOW - 10)
    world = {"envoy": gateway, NAME: server(Phase.READY)}
    wanted = {"envoy": ENVOY, NAME: FRESH}
    looks = {"envoy": READY, NAME: READY}

    def stop(instances: Any, seen: Any, now: float) -> Plan:
        return decide(
            desired=IDLE,
            wanted=wanted,
            instances=instances,
            seen=seen,
            crashes=NO_CRASHES,
            stopping=True,
            now=now,
        )

    plan = stop(world, looks, NOW)
    assert plan.effects == (DrainGateway(name="envoy"),)
    assert plan.instances[NAME].phase is Phase.READY
    plan = stop(plan.instances, {**looks, "envoy": Seen(alive=True, idle=True)}, NOW + 0.1)
    assert plan.effects == (End(name="envoy", kill=False),)
    plan = stop(plan.instances, {**looks, "envoy": Seen(exit="exit status 0")}, NOW + 0.2)
    assert plan.effects == (Sweep(name="envoy"),)
    assert plan.instances.keys() == {NAME}
    plan = stop(plan.instances, looks, NOW + 0.3)
    assert plan.instances[NAME].phase is Phase.DRAINING


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(0.01, 20)), max_size=60
    )
)
def test_stopping_always_ends(events: list[tuple[bool, bool, bool, float]]) -> None:
    """Whatever is seen, a stopping server gets SIGTERM, then SIGKILL, within a bounded time."""
    instances: dict[str, Instance] = {}
    now, stopping, killed_by = NOW, False, None
    for alive, ready, asserting, pause in events:
        seen = {NAME: Seen(alive=alive, ready=ready, asserting=asserting)}
        plan = decide(
            desired=LOADED,
            wanted={NAME: FRESH},
            instances=instances,
            seen=seen,
            crashes=NO_CRASHES,
            stopping=stopping,
            now=now,
        )
        instances, now = dict(plan.instances), now + pause
        for name, one in instances.items():
            if one.phase is Phase.STARTING and one.pid is None:
                instances[name] = replace(one, pid=7, ports={"grpc": 1})
    stopping, began = True, now
    while instances and killed_by is None:
        plan = decide(
            desired=LOADED,
            wanted={NAME: FRESH},
            instances=instances,
            seen={NAME: Seen(alive=True, ready=False)},
            crashes=NO_CRASHES,
            stopping=stopping,
            now=now,
        )
        instances, now = dict(plan.instances), now + 0.5
        killed_by = next((one for one in plan.effects if one == End(name=NAME, kill=True)), None)
        assert now - began < 1 + 10 + 5 + 3


GIVEN = replace(FRESH, command="host:1:2", given=True, ports={"http": 1, "grpc": 2})
EXAMINED = replace(READY, backends=("python",))
REFUSED = replace(ALIVE, ready=False, exit="It sees another folder.")
AWAY = replace(ALIVE, ready=False)
EMPTIED = replace(READY, emptied=True)


@pytest.mark.parametrize(
    ("phase", "seen", "desired", "after", "effects"),
    [
        pytest.param(Phase.WAITING, Seen(), IDLE, Phase.STARTING, [], id="new: asked"),
        pytest.param(Phase.STARTING, AWAY, IDLE, Phase.STARTING, [], id="not there yet"),
        pytest.param(Phase.STARTING, REFUSED, IDLE, Phase.STARTING, [], id="unsuitable"),
        pytest.param(Phase.STARTING, EXAMINED, IDLE, Phase.READY, [], id="suitable"),
        pytest.param(Phase.STARTING, EXAMINED, LOADED, Phase.LOADING, [Assert], id="told first"),
        pytest.param(Phase.READY, READY, LOADED, Phase.READY, [], id="answers"),
        pytest.param(Phase.READY, AWAY, LOADED, Phase.STARTING, [], id="went away"),
        pytest.param(Phase.READY, EMPTIED, LOADED, Phase.STARTING, [], id="lost what it held"),
        pytest.param(Phase.LOADING, AWAY, LOADED, Phase.STARTING, [], id="away while it loaded"),
    ],
)
def test_a_given_server_is_asked_and_told_and_never_started_or_ended(
    phase: Phase, seen: Seen, desired: Desired, after: Phase, effects: list[type]
) -> None:
    """However long it takes: it is somebody else's. One that was away is taken to hold nothing."""
    held = {"m": 3} if phase is not Phase.STARTING else {}
    one = replace(GIVEN, phase=phase, since=NOW - 10_000, asserted=held)
    plan = step(one, seen, desired=desired, wanted=GIVEN)
    found = plan.instances[NAME]
    assert found.phase is after
    assert [type(effect) for effect in plan.effects] == effects
    assert plan.crashes == NO_CRASHES
    if seen is REFUSED:
        assert found.last_exit == REFUSED.exit
    if seen is EXAMINED:
        assert found.backends == ("python",)
    if phase in (Phase.READY, Phase.LOADING) and after is Phase.STARTING:
        assert found.asserted == {}


@pytest.mark.parametrize(
    ("wanted", "stopping"),
    [
        (None, False),
        (replace(GIVEN, command="elsewhere:1:2"), False),
        (FRESH, False),
        (GIVEN, True),
    ],
    ids=["not wanted", "another address", "now supervised", "stopping"],
)
def test_a_given_server_is_let_go_without_a_word(wanted: Instance | None, stopping: bool) -> None:
    """It leaves the gateway's lists, and nothing is done to it."""
    one = replace(GIVEN, phase=Phase.READY, since=NOW - 10)
    plan = step(one, READY, wanted=wanted, stopping=stopping)
    assert plan.instances == {}
    assert plan.effects == ()


def test_a_supervised_server_makes_way_for_a_given_one() -> None:
    """It is drained and ended like any that is not wanted; no process is started in its place."""
    draining = step(server(Phase.READY), READY, wanted=GIVEN)
    assert draining.instances[NAME].phase is Phase.DRAINING
    gone = step(server(Phase.STOPPING), DEAD, wanted=GIVEN)
    assert NAME not in gone.instances
    assert gone.effects == (Sweep(name=NAME),)
