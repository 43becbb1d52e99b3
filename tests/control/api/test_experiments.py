"""Experiments over the API: arms, traffic, findings; evidence comes from a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory_platform import MemoryPlatform, running_memory_platform

from conch.ab import DecisionRecord, from_json, replays
from conch.control.client import ApiError
from conch.control.settings import ServingSettings
from conch.core import TOTAL_WEIGHT, TritonName

PLAN: dict[str, Any] = {
    "goals": {"buys": {"source": "events:buys", "direction": "higher-is-better"}},
    "step_minimum_s": 0,
    "step_minimum_units": 0,
    "record_every_s": 0.1,
}
ALIKE = {"buys": 0.10, "error-rate": 0.01}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryPlatform]:
    """A platform with three slots."""
    folder = tmp_path_factory.mktemp("experiments")
    with running_memory_platform(folder, serving=ServingSettings(slots=("a", "b", "c"))) as found:
        yield found


@pytest.fixture(autouse=True)
def _alike(platform: MemoryPlatform) -> None:
    """Every test begins with arms that are alike."""
    platform.evidence.control = platform.evidence.candidate = ALIKE
    platform.evidence.arms, platform.evidence.away = {}, ""


def until(condition: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.02)


def started(platform: MemoryPlatform, name: str, count: int = 3, **given: Any) -> dict[str, Any]:
    """Make a model of some versions and compare them all; return the experiment as it runs."""
    platform.live(name, factor=2.0)
    arms = [
        {"version": platform.verified(name, factor=float(number))} for number in range(3, 2 + count)
    ]
    given = {"plan": PLAN} | given
    found = platform.client.start_experiment(name, given.pop("arms", arms), **given)
    return platform.client.wait_experiment(found["id"], status="running", timeout_s=60)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ApiError) as error:
        call()
    return error.value.code


def test_three_arms_are_compared_until_all_are_decided(platform: MemoryPlatform) -> None:
    """Traffic is divided under the experiment's name; better arms end it; the live one stays."""
    client = platform.client
    found = started(platform, "three")
    weights = {arm["version"]: arm["weight"] for arm in found["arms"]}
    assert weights == {1: 33.34, 2: 33.33, 3: 33.33}
    split = platform.target.routes()[TritonName("three")]
    assert (split.release, split.stage) == (found["id"], 0)
    assert sum(arm.weight for arm in split.arms) == TOTAL_WEIGHT
    assert split.arms[-1].build_id == found["arms"][0]["build_id"]
    until(lambda: client.findings(found["id"])[0]["code"] == "comparing")
    better = ALIKE | {"buys": 0.14}
    platform.evidence.arms = {2: better}
    until(lambda: client.experiment_results(found["id"])[0]["action"] == "promote")
    assert client.experiment(found["id"])["status"] == "running", "version 3 is open yet"
    platform.evidence.arms = {2: better, 3: better}
    ended = client.wait_experiment(found["id"], timeout_s=60)
    assert ended["outcome"]["code"] == "goal-met"
    assert "Version 2" in ended["outcome"]["message"]
    until(lambda: len(platform.target.routes()[TritonName("three")].arms) == 1)
    assert client.version("three", 1)["live"]
    until(lambda: found["id"] in platform.evidence.forgotten)
    looks = client.findings(found["id"], records=True)
    assert [one["action"] for one in looks][::-1][:2] == ["start", "begin"]
    values = [record for one in looks if one["records"] for record in one["records"].values()]
    assert len(values) >= 4
    assert all(replays(from_json(DecisionRecord, value)) for value in values)


def test_harm_of_one_arm_gives_everybody_the_live_version(platform: MemoryPlatform) -> None:
    """At any look, and the outcome says which arm and what."""
    found = started(platform, "harm")
    platform.evidence.arms = {3: ALIKE | {"error-rate": 0.05}}
    ended = platform.client.wait_experiment(found["id"], timeout_s=60)
    assert ended["outcome"]["code"] == "harm-proven"
    assert "Version 3" in ended["outcome"]["message"]
    assert "Version 2" not in ended["outcome"]["message"]
    until(lambda: len(platform.target.routes()[TritonName("harm")].arms) == 1)
    sentences = platform.client.explain_experiment(found["id"])["sentences"]
    assert any("Harm is proven" in one for one in sentences)


def test_what_cannot_be_told_concludes_nothing(platform: MemoryPlatform) -> None:
    """It is held with the reason, and goes on by itself."""
    found = started(platform, "blind", count=2)
    platform.evidence.away = "the log is away."
    until(lambda: platform.client.experiment(found["id"])["hold"] is not None)
    assert platform.client.experiment(found["id"])["hold"]["code"] == "evidence-missing"
    platform.evidence.away = ""
    until(lambda: platform.client.experiment(found["id"])["hold"] is None)
    ended = platform.client.stop_experiment("blind", reason="enough")
    assert ended["outcome"] == {"code": "stopped", "message": "enough"}


def test_a_model_is_in_one_experiment_or_release(platform: MemoryPlatform) -> None:
    """Neither begins beside the other, nor does a release begin by itself."""
    client = platform.client
    started(platform, "one", count=2)
    assert refused(lambda: client.start_release("one", 2)) == "experiment-open"
    arms = [{"version": 2}]
    assert refused(lambda: client.start_experiment("one", arms, plan=PLAN)) == "experiment-open"
    client.stop_experiment("one")
    assert refused(lambda: client.stop_experiment("one")) == "no-experiment"
    client.start_release("one", 2)
    assert refused(lambda: client.start_experiment("one", arms, plan=PLAN)) == "release-open"
    client.abort("one")


def test_what_cannot_be_compared_is_refused(platform: MemoryPlatform) -> None:
    """Each with its code, and nothing is loaded for it."""
    client = platform.client
    platform.live("bad", factor=2.0)
    for factor in (3.0, 4.0, 5.0):
        platform.verified("bad", factor=factor)
    two = [{"version": 2}]
    cases = {
        "arms-invalid": ([{"version": 1}], PLAN),
        "plan-invalid": (two, {}),
        "slots-taken": ([{"version": number} for number in (2, 3, 4)], PLAN),
        "not-found": ([{"version": 9}], PLAN),
    }
    for code, (arms, plan) in cases.items():
        assert refused(lambda a=arms, p=plan: client.start_experiment("bad", a, plan=p)) == code  # type: ignore[misc]
    assert refused(lambda: client.start_experiment("bad", [{"build_id": "x"}], plan=PLAN)) == (
        "not-found"
    )
    shown = client.plan_experiment("bad", two, plan=PLAN)
    assert shown["plan"]["rule"]["goal_rule"] == "better"
    assert client.experiments(model="bad") == []
    assert len(platform.target.routes()[TritonName("bad")].arms) == 1


def test_two_forms_of_one_version_are_compared(platform: MemoryPlatform) -> None:
    """Builds of the same version are arms: their precision, or how they are served."""
    client = platform.client
    platform.live("forms", factor=2.0)
    client.retry_build("forms", 1, pin="onnx:fp32")
    until(lambda: sum(one["status"] == "verified" for one in client.builds(model="forms")) == 2)
    live = client.version("forms", 1)["build_id"]
    other = next(one["id"] for one in client.builds(model="forms") if one["id"] != live)
    found = client.start_experiment("forms", [{"build_id": other, "share": 20}], plan=PLAN)
    found = client.wait_experiment(found["id"], status="running", timeout_s=60)
    assert [(arm["version"], arm["weight"]) for arm in found["arms"]] == [(1, 80.0), (1, 20.0)]
    assert len({arm["ordinal"] for arm in found["arms"]}) == 2
    client.stop_experiment("forms")


def held(platform: MemoryPlatform, name: TritonName) -> set[str]:
    """Return the slots that hold a version of a model."""
    servers = platform.target.observe().servers
    return {one.slot for one in servers for loaded in one.models if loaded.model == name}


def test_a_release_is_compared_with_an_arm_of_equal_share(platform: MemoryPlatform) -> None:
    """The live version is served once more, at the candidate's share, until the release is over."""
    client, name = platform.client, TritonName("equal")
    platform.live("equal", factor=2.0)
    second = platform.verified("equal", factor=3.0)
    changes = {
        "equal_baseline": True,
        "step_minimum_s": 0,
        "step_minimum_units": 0,
        "bake_s": 0.2,
        "record_every_s": 0.1,
        "approve": ["promotion"],
    }
    client.start_release("equal", second, plan="canary", changes=changes)
    until(lambda: client.releases(model="equal", limit=1)[0]["hold"] is not None)
    release = client.releases(model="equal", limit=1)[0]
    assert release["hold"]["code"] == "waiting-for-approval"
    stages = [(stage["weight"], stage["control_weight"]) for stage in release["stages"]]
    assert stages == [(1.0, 1.0), (5.0, 5.0), (25.0, 25.0), (50.0, 50.0)]
    arms = platform.target.routes()[name].arms
    assert [(arm.slot, arm.ordinal, arm.weight) for arm in arms] == [
        ("b", 2, 5_000),
        ("a", 1, 0),
        ("c", 1, 5_000),
    ]
    client.approve("equal")
    ended = client.wait_release_ended("equal", timeout_s=60)
    assert ended["status"] == "promoted"
    assert [stage["control_weight"] for stage in ended["stages"]][-1] == 5.0
    until(lambda: [(a.slot, a.ordinal) for a in platform.target.routes()[name].arms] == [("b", 2)])
    until(lambda: held(platform, name) == {"b"})


def test_a_roll_back_takes_the_baseline_arm_along(platform: MemoryPlatform) -> None:
    """The live version stays where it was, and is in one slot again."""
    client, name = platform.client, TritonName("back")
    platform.live("back", factor=2.0)
    second = platform.verified("back", factor=3.0)
    platform.evidence.candidate = {"error-rate": 0.05}
    changes = {"equal_baseline": True, "step_minimum_s": 60, "bake_s": 0}
    client.start_release("back", second, plan="canary", changes=changes)
    ended = client.wait_release_ended("back", timeout_s=60)
    assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "harm-proven")
    until(lambda: [(a.slot, a.ordinal) for a in platform.target.routes()[name].arms] == [("a", 1)])
