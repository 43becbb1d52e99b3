"""The release engine on real Triton and Envoy under real load: what is bad goes back by itself.

Every model answers by hand-made code and the registry is in memory; the control plane, its event
log, its statistics, the gateway and the servers are the real ones.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from callers import Asked, Callers
from flawed_builds import CALLED, FACTOR, Flaw, FlawedWorkshop
from memory_platform import served, write_scaling
from memory_registry import MemoryRegistry

from conch import local
from conch.control import platform as running
from conch.control.api import create_app
from conch.control.client import Client
from conch.control.keys import WEBHOOK_NAME, ensure_key
from conch.control.plane import ControlPlane
from conch.control.recording import Recording
from conch.control.settings import (
    ApiSettings,
    CaptureSettings,
    MlflowSettings,
    ReleaseSettings,
    ServingSettings,
    Settings,
    read_settings,
)
from conch.control.state import Database
from conch.core import TrafficSplit, TritonName

pytestmark = pytest.mark.real

SLO_MS: Final = 60.0
TWINS: Final = ("twin-a", "twin-b", "twin-c", "twin-d")
PLAN: Final[Mapping[str, Any]] = {
    "name": "quick",
    "steps": [20, 50, 100],
    "step_minimum_s": 2,
    "step_minimum_units": 50,
    # What is tolerated is far above noise: these tests are of the engine, not of the margins.
    "guardrails": {
        "error-rate": {"margin": 0.5, "tolerated": 0.01},
        "slow-share": {"margin": 0.5, "tolerated": 0.05, "slower_than_ms": SLO_MS},
        "wrong-label": {"source": "events:wrong-label", "margin": 0.5, "tolerated": 0.01},
    },
    "bake_s": 3,
    "holdback": 5,
    "freshness_s": 10,
    "record_every_s": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A control plane on a data plane of its own."""

    settings: Settings
    plane: ControlPlane
    registry: MemoryRegistry
    workshop: FlawedWorkshop
    client: Client
    key: str

    def pair(self, name: str, flaw: Flaw, *, live: Flaw | None = None) -> None:
        """Make a model of two versions, the first live, the second verified."""
        self.workshop.flaws[name, 1] = live or Flaw()
        self.workshop.flaws[name, 2] = flaw
        self._register(name)
        self.client.wait_live(name, 1, timeout_s=120)
        self._register(name)
        self.client.wait_verified(name, 2, timeout_s=60)

    def another(self, name: str, number: int, flaw: Flaw) -> None:
        """Register a further version and wait until it is verified."""
        self.workshop.flaws[name, number] = flaw
        self._register(name)
        self.client.wait_verified(name, number, timeout_s=60)

    def callers(self, *models: str, **given: Any) -> Callers:
        """Return callers of models, who say which answers were wrong."""
        return Callers(
            Asked(
                inference_url=self.settings.inference_url,
                models=models,
                marker=CALLED,
                factor=FACTOR,
                report_url=self.settings.control_url,
                key=self.key,
                **given,
            )
        )

    def newest(self, name: str) -> dict[str, Any]:
        """Return a model's newest release."""
        found: dict[str, Any] = self.client.releases(model=name, limit=1)[0]
        return found

    def held(self, name: str) -> str | None:
        """Return why a model's newest release is held; None where it is not."""
        hold = self.newest(name)["hold"]
        return None if hold is None else str(hold["code"])

    def age_s(self, name: str) -> float:
        """Return how long ago the first stage of a model's newest release began."""
        begun = datetime.fromisoformat(self.newest(name)["stages"][0]["started_at"])
        return (datetime.now(UTC) - begun).total_seconds()

    def split(self, name: str) -> TrafficSplit:
        """Return a model's routes in force."""
        return self.plane.target.routes()[TritonName(name)]

    def whole(self, name: str) -> int | None:
        """Return the version that all of a model's traffic goes to; None where it is divided."""
        served = [arm.ordinal for arm in self.split(name).arms if arm.weight]
        return int(served[0]) if len(served) == 1 else None

    def _register(self, name: str) -> None:
        path = self.settings.home / "scaling.onnx"
        write_scaling(path, factor=FACTOR)
        self.registry.register_path(name, path)
        self.client.sweep()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One platform for the module, in a folder of a short path, because of Unix sockets."""
    home = Path(tempfile.mkdtemp(prefix="conch-re-"))
    runtime = local.install()
    with ExitStack() as stack:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings = running.with_free_ports(
            read_settings(
                home=home,
                api=ApiSettings(control_port=port),
                mlflow=MlflowSettings(sweep_s=3600),
                release=ReleaseSettings(look_s=0.25),
                capture=CaptureSettings(enabled=True),
                serving=ServingSettings(slots=("a", "b", "c")),
            )
        )
        settings = settings.model_copy(
            update={"api": settings.api.model_copy(update={"control_port": port})}
        )
        serving = running.serving_home(settings)
        target = local.LocalTarget(
            serving, runtime=runtime, settings=running.local_settings(settings)
        )
        stack.callback(local.stop, serving)
        local.launch(serving)
        local.wait_until_ready(serving, timeout_s=60)
        settings.save()
        stack.enter_context(capture_process(settings))
        key = ensure_key(home)
        (home / "registry").mkdir()
        registry, workshop = MemoryRegistry(home / "registry"), FlawedWorkshop()
        plane = ControlPlane(
            settings=settings,
            database=Database(settings.database),
            registry=registry,
            target=target,
            workshop=workshop,
            webhook_secret=ensure_key(home, WEBHOOK_NAME),
            recording=Recording(
                home=home, access_log=local.Home(serving).access_log, settings=settings.events
            ),
        )
        plane.start()
        stack.callback(plane.stop)
        stack.enter_context(served(create_app(plane, key=key), listener))
        client = stack.enter_context(Client(settings.control_url, key=key))
        yield World(
            settings=settings,
            plane=plane,
            registry=registry,
            workshop=workshop,
            client=client,
            key=key,
        )
    shutil.rmtree(home)


@contextmanager
def capture_process(settings: Settings) -> Iterator[None]:
    """Run the capture process of a home for the block."""
    argv = [sys.executable, "-m", "conch.control.capturing.serving"]
    with (settings.home / "capture.log").open("ab") as output:
        process = subprocess.Popen(
            [*argv, "--home", str(settings.home)], stdout=output, stderr=output
        )
    try:
        until((running.serving_home(settings) / "envoy" / "capture.sock").exists)
        yield
    finally:
        process.terminate()
        process.wait()


def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.1)


def test_a_good_version_is_promoted_by_itself(world: World) -> None:
    """Through every step and the bake time; nobody's request fails on the way."""
    world.pair("good", Flaw())
    with world.callers("good") as callers:
        world.client.start_release("good", 2, plan=PLAN)
        ended = world.client.wait_release_ended("good", timeout_s=90)
    assert ended["status"] == "promoted", world.client.explain(ended["id"])["sentences"]
    assert [stage["weight"] for stage in ended["stages"]] == [20.0, 50.0, 95.0]
    assert callers.calls.failures == []
    assert callers.calls.answers["good", 2] > 500


@pytest.mark.parametrize(
    ("flaw", "metric"),
    [
        (Flaw(failing=0.03), "error-rate"),
        (Flaw(delay_s=1.4 * SLO_MS / 1000), "slow-share"),
        (Flaw(wrong=0.05), "wrong-label"),
    ],
    ids=["errors", "slow", "wrong"],
)
def test_a_bad_version_is_rolled_back_by_itself(world: World, flaw: Flaw, metric: str) -> None:
    """With the right reason, within seconds, and the live version fails nobody meanwhile."""
    name = f"bad-{metric}"
    world.pair(name, flaw)
    with world.callers(name) as callers:
        world.client.start_release(name, 2, plan=PLAN, changes={"step_minimum_s": 60})
        ended = world.client.wait_release_ended(name, timeout_s=60)
        until(lambda: world.whole(name) == 1)
    assert ended["status"] == "rolled-back"
    assert ended["reason"]["code"] == "harm-proven", ended["reason"]
    assert ended["reason"]["message"].lower().startswith(metric), ended["reason"]
    assert len(callers.calls.failures) == callers.calls.failed_of(name, 2)


@pytest.mark.parametrize("flaw", [Flaw(), Flaw(wrong=0.2)], ids=["alike", "differs"])
def test_copies_of_requests_decide_about_the_first_percent(world: World, flaw: Flaw) -> None:
    """Real answers to real copies: alike, and the steps begin; else nobody meets the candidate."""
    name = "copied" if flaw == Flaw() else "differing"
    world.pair(name, flaw)
    shadow = {"share": 30, "minimum_requests": 100}
    with world.callers(name, rate_hz=100.0) as callers:
        world.client.start_release(name, 2, plan=PLAN, changes={"shadow": shadow})
        if flaw == Flaw():
            until(lambda: world.newest(name)["weight"] == 20.0)
        else:
            until(lambda: world.held(name) == "shadow-differs")
            assert world.newest(name)["stages"] == []
        world.client.abort(name)
    assert callers.calls.failures == []
    if flaw != Flaw():
        assert (name, 2) not in callers.calls.answers


def test_twenty_releases_of_the_same_are_not_rolled_back(world: World) -> None:
    """At 5 %, with 1 % of errors in both versions: each passes its first step.

    The error level is such that a roll-back by chance has at most 1 % over all twenty.
    """
    usual = Flaw(failing=0.01)
    for name in TWINS:
        world.pair(name, usual, live=usual)
    changes = {
        "steps": [5, 50, 100],
        "alpha": 0.0005,
        "step_minimum_s": 5,
        "step_minimum_units": 20,
        "bake_s": 600,
    }
    with world.callers(*TWINS, rate_hz=150.0) as callers:
        for _ in range(5):
            for name in TWINS:
                note = "the same version again"
                world.client.start_release(name, 2, plan=PLAN, changes=changes, note=note)
            for name in TWINS:
                until(lambda name=name: len(world.newest(name)["stages"]) > 1)  # type: ignore[misc]
                ended = world.client.abort(name, reason="the step was passed")
                assert ended["reason"]["code"] == "aborted"
                assert [stage["weight"] for stage in ended["stages"]] == [5.0, 50.0]
    assert sum(callers.calls.answers.values()) > 2000
    assert all(version for _, version in callers.calls.failures), "somebody got no version's answer"


def test_three_arms_are_compared_by_outcomes_that_arrive_as_events(world: World) -> None:
    """The better arm is found, the equal one stays open; nobody's request fails on the way."""
    flaw = Flaw(wrong=0.3)
    world.pair("arms", flaw, live=flaw)
    world.another("arms", 3, Flaw(wrong=0.02))
    plan = {
        "goals": {"wrong-label": {"source": "events:wrong-label"}},
        "guardrails": {"error-rate": PLAN["guardrails"]["error-rate"]},
        "step_minimum_s": 2,
        "step_minimum_units": 50,
        "freshness_s": 10,
        "record_every_s": 2,
    }
    with world.callers("arms") as callers:
        arms = [{"version": 2}, {"version": 3}]
        found = world.client.start_experiment("arms", arms, plan=plan)
        found = world.client.wait_experiment(found["id"], status="running", timeout_s=60)
        assert [arm["slot"] for arm in found["arms"]] == ["a", "b", "c"]
        until(lambda: world.client.experiment_results(found["id"])[-1:] != [])
        until(lambda: world.client.experiment_results(found["id"])[1]["action"] == "promote")
        same, better = world.client.experiment_results(found["id"])
        assert (same["version"], same["action"]) == (2, "inconclusive")
        assert better["version"] == 3
        ended = world.client.stop_experiment("arms", reason="version 3 it is")
        until(lambda: world.whole("arms") == 1)
    assert ended["outcome"]["code"] == "stopped"
    assert callers.calls.failures == []
    answers = [callers.calls.answers["arms", version] for version in (1, 2, 3)]
    assert min(answers) > 0.5 * max(answers) / 3


def test_a_candidate_is_compared_with_an_arm_of_equal_share(world: World) -> None:
    """The live version answers from two slots; only the units of the smaller one are compared."""
    world.pair("equal", Flaw())
    changes = {"equal_baseline": True, "step_minimum_s": 3600}
    with world.callers("equal") as callers:
        release = world.client.start_release("equal", 2, plan=PLAN, changes=changes)
        world.client.wait_release_running("equal", timeout_s=60)
        weights = {arm.slot: arm.weight for arm in world.split("equal").arms}
        assert weights == {"b": 2_000, "a": 6_000, "c": 2_000}

        def compared() -> tuple[int, int]:
            looks = world.client.decisions(release["id"], records=True)
            stages = [one["record"]["evidence"]["stages"][0] for one in looks if one["record"]]
            newest = stages[0] if stages else {"control_units": 0, "candidate_units": 0}
            return newest["control_units"], newest["candidate_units"]

        until(lambda: min(compared()) > 200)
        control, candidate = compared()
        assert 0.7 < control / candidate < 1.4
        world.client.abort("equal")
        until(lambda: world.whole("equal") == 1)
    assert callers.calls.failures == []
    assert world.held("equal") is None


def test_a_broken_sample_ratio_is_held(world: World) -> None:
    """Callers who keep away from the candidate break the comparison, and that is noticed."""
    world.pair("shy", Flaw())
    world.client.start_release("shy", 2, plan=PLAN, changes={"step_minimum_units": 1_000_000})
    world.client.wait_release_running("shy", timeout_s=60)
    with world.callers("shy", avoid=world.split("shy"), avoided=0.6):
        # Until the callers are up, the data may be held for their age.
        until(
            lambda: "sample-ratio" in (world.newest("shy")["hold"] or {}).get("message", "").lower()
        )
        found = world.newest("shy")
    assert found["hold"]["code"] == "unhealthy"
    assert (found["status"], found["weight"]) == ("running", 20.0)
    world.client.abort("shy")


def test_data_that_stop_arriving_are_held(world: World) -> None:
    """An access log that was taken away is no sign of health; once it is back it goes on."""
    log = local.Home(running.serving_home(world.settings)).access_log
    world.pair("blind", Flaw())
    with world.callers("blind"):
        changes = {"freshness_s": 3, "step_minimum_s": 6}
        world.client.start_release("blind", 2, plan=PLAN, changes=changes)
        world.client.wait_release_running("blind", timeout_s=60)
        away = log.with_name("taken-away")
        log.rename(away)
        try:
            until(lambda: world.held("blind") == "unhealthy")
            until(lambda: world.age_s("blind") > changes["step_minimum_s"] + 1)
            found = world.newest("blind")
        finally:
            away.rename(log)
        assert "data-freshness" in found["hold"]["message"].lower()
        assert [stage["weight"] for stage in found["stages"]] == [20.0]
        ended = world.client.wait_release_ended("blind", timeout_s=60)
    assert ended["status"] == "promoted"


def test_a_version_that_crashes_under_load_is_rolled_back(world: World) -> None:
    """At 20 % its server begins to die of it: the build is quarantined, nobody else fails."""
    switch = world.settings.home / "crash"
    world.pair("crashing", Flaw(crash_file=str(switch)))
    changes = {"steps": [5, 20, 100], "step_minimum_units": 10}
    with world.callers("crashing") as callers:
        world.client.start_release("crashing", 2, plan=PLAN, changes=changes)
        until(lambda: world.newest("crashing")["weight"] >= 20)
        switch.touch()
        ended = world.client.wait_release_ended("crashing", timeout_s=60)
        until(lambda: world.whole("crashing") == 1)
    assert ended["status"] == "rolled-back"
    assert ended["reason"]["code"] in ("version-quarantined", "harm-proven"), ended["reason"]
    assert len(callers.calls.failures) == callers.calls.failed_of("crashing", 2)
