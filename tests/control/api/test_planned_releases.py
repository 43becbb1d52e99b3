"""Releases that decide by themselves, over the API; evidence comes from a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_platform import MemoryPlatform, running_memory_platform
from tabled_evidence import TabledEvidence

from conch.ab import DecisionRecord, from_json, replays
from conch.control.client import ApiError, Client
from conch.control.evidence import ShadowSummary
from conch.control.settings import CaptureSettings, ReleaseSettings
from conch.core import TritonName

QUICK = {"step_minimum_s": 0, "bake_s": 0.2, "record_every_s": 0.1}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryPlatform]:
    """A platform of this module's own: its tests change what was observed."""
    with running_memory_platform(tmp_path_factory.mktemp("planned")) as found:
        yield found


@pytest.fixture(autouse=True)
def _fine(platform: MemoryPlatform) -> None:
    """Every test begins with evidence of two versions that are alike."""
    say(platform, TabledEvidence())


def say(platform: MemoryPlatform, evidence: TabledEvidence) -> None:
    """Change what was observed from now on."""
    for name in ("units", "control", "candidate", "skew", "age_s", "away"):
        setattr(platform.evidence, name, getattr(evidence, name))


def until(condition: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.02)


def newest(client: Client, name: str) -> dict[str, Any]:
    """Return a model's newest release."""
    found: dict[str, Any] = client.releases(model=name, limit=1)[0]
    return found


def reached(client: Client, name: str, status: str) -> None:
    """Wait until a model's newest release has a status."""
    until(lambda: newest(client, name)["status"] == status)


def shares(client: Client, name: str) -> dict[int, float]:
    """Return the weights in force by version, in percent."""
    return {arm["version"]: arm["weight"] for arm in client.deployment(name)["arms"]}


def started(
    platform: MemoryPlatform, name: str, plan: str = "canary", **changes: Any
) -> dict[str, Any]:
    """Make a model with two versions and release the second by a plan."""
    platform.live(name, factor=2.0)
    second = platform.verified(name, factor=3.0)
    return platform.client.start_release(name, second, plan=plan, changes=QUICK | changes)


def tag(platform: MemoryPlatform, name: str, number: int) -> str | None:
    """Return what MLflow shows of a version."""
    return next(
        v.tags.get("conch.status")
        for v in platform.registry.snapshot().versions
        if (v.name, v.number) == (name, number)
    )


def test_a_good_version_is_promoted_by_itself(platform: MemoryPlatform) -> None:
    """Through every step, with a record of each; the former version keeps a share, then nothing."""
    client = platform.client
    release = started(platform, "good")
    ended = client.wait_release_ended("good", timeout_s=60)
    assert (ended["status"], ended["weight"]) == ("promoted", 100.0)
    assert [stage["weight"] for stage in ended["stages"]] == [1.0, 5.0, 25.0, 50.0, 95.0]
    assert shares(client, "good")[2] == 100.0
    decisions = client.decisions(release["id"], records=True)[::-1]
    moves = [one["action"] for one in decisions if one["action"] not in ("stay", "hold")]
    assert moves == ["start", "begin", *["advance"] * 3, "promote", "finish"]
    looks = [one["record"] for one in decisions if one["record"] is not None]
    assert len(looks) >= 5
    assert all(replays(from_json(DecisionRecord, record)) for record in looks)
    assert {one["plan_digest"] for one in decisions} == {ended["plan_digest"]}
    until(lambda: tag(platform, "good", 2) == "live")
    assert platform.evidence.followed
    until(lambda: release["id"] in platform.evidence.forgotten)


def test_a_bad_version_is_rolled_back_by_itself_and_stays_away(platform: MemoryPlatform) -> None:
    """Proven harm takes its traffic and says why everywhere; only a person's word tries again."""
    client = platform.client
    say(platform, TabledEvidence(candidate={"error-rate": 0.03}))
    release = started(platform, "bad")
    ended = client.wait_release_ended("bad", timeout_s=60)
    assert (ended["status"], ended["weight"]) == ("rolled-back", 0.0)
    assert ended["reason"]["code"] == "harm-proven"
    assert "error-rate" in ended["reason"]["message"].lower()
    assert shares(client, "bad")[1] == 100.0
    until(lambda: str(tag(platform, "bad", 2)).startswith("rolled back"))
    sentences = client.explain(release["id"])["sentences"]
    assert any("Harm is proven" in one for one in sentences)
    with pytest.raises(ApiError) as caught:
        client.start_release("bad", 2, plan="canary")
    assert caught.value.code == "rolled-back-before"


def test_harm_during_the_bake_time_rolls_back(platform: MemoryPlatform) -> None:
    """A flip is live at once, the former version keeps a share, and harm brings it back."""
    client = platform.client
    started(platform, "flipped", plan="hot", bake_s=600)
    until(lambda: newest(client, "flipped")["status"] == "baking")
    until(lambda: shares(client, "flipped") == {2: 95.0, 1: 5.0})
    assert client.model("flipped")["live_version"] == 2
    say(platform, TabledEvidence(candidate={"error-rate": 0.05}))
    ended = client.wait_release_ended("flipped", timeout_s=60)
    assert ended["status"] == "rolled-back"
    assert client.model("flipped")["live_version"] == 1
    assert shares(client, "flipped")[1] == 100.0


def test_without_a_holdback_the_bake_time_compares_nothing(platform: MemoryPlatform) -> None:
    """Everything goes to the new version, and the plan ends once the bake time is over."""
    started(platform, "whole", holdback=0, bake_s=0.2)
    ended = platform.client.wait_release_ended("whole", timeout_s=60)
    assert (ended["status"], ended["weight"]) == ("promoted", 100.0)
    assert [stage["weight"] for stage in ended["stages"]] == [1.0, 5.0, 25.0, 50.0, 100.0]


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (TabledEvidence(skew=1.6), "unhealthy"),
        (TabledEvidence(age_s=99), "unhealthy"),
        (TabledEvidence(away="nobody counts"), "evidence-missing"),
    ],
    ids=["ratio", "freshness", "away"],
)
def test_what_cannot_be_believed_is_held(
    platform: MemoryPlatform, evidence: TabledEvidence, code: str
) -> None:
    """No step is taken on a broken comparison; once it is sound again the release goes on."""
    client, name = platform.client, f"held {code} {evidence.skew} {evidence.age_s}"
    say(platform, replace(evidence, candidate={"error-rate": 0.03}))
    started(platform, name)
    until(lambda: (newest(client, name)["hold"] or {}).get("code") == code)
    assert newest(client, name)["weight"] == 1.0
    say(platform, TabledEvidence())
    assert client.wait_release_ended(name, timeout_s=60)["status"] == "promoted"


def test_a_person_pauses_resumes_approves_and_aborts(platform: MemoryPlatform) -> None:
    """Each word is kept with who said it, and holds or lets go at once."""
    client = platform.client
    say(platform, TabledEvidence(units=0))
    started(platform, "steered", approve=["start", "promotion"])
    until(lambda: (newest(client, "steered")["hold"] or {}).get("code") == "waiting-for-approval")
    assert newest(client, "steered")["status"] == "preparing"
    assert client.approve("steered")["status"] == "running"
    with pytest.raises(ApiError) as caught:
        client.approve("steered")
    assert caught.value.code == "conflict"
    with pytest.raises(ApiError) as caught:
        client.set_weight("steered", 10)
    assert caught.value.code == "release-planned"
    paused = client.pause("steered", reason="the weekend")
    assert (paused["paused"], paused["hold"]["message"]) == (True, "the weekend")
    say(platform, TabledEvidence())
    until(lambda: client.decisions(paused["id"])[0]["action"] == "hold")
    assert newest(client, "steered")["weight"] == 1.0
    client.resume("steered")
    until(lambda: (newest(client, "steered")["hold"] or {}).get("code") == "waiting-for-approval")
    assert newest(client, "steered")["weight"] == 50.0
    ended = client.abort("steered", reason="not today")
    assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "aborted")
    assert shares(client, "steered")[1] == 100.0
    words = [one["action"] for one in client.decisions(ended["id"]) if one["actor"]]
    assert words == ["roll-back", "resume", "pause", "approve", "start"]


def test_what_a_plan_needs_is_said_before_anything_starts(platform: MemoryPlatform) -> None:
    """Mistakes are refused by field; a dry run shows the plan that would be applied."""
    client = platform.client
    platform.live("asked", factor=2.0)
    second = platform.verified("asked", factor=3.0)
    shown = client.plan_release("asked", second, plan="canary", changes={"steps": [2, 100]})
    assert shown["plan"]["rule"]["steps"][0]["weight"] == 200
    assert client.plan_release("asked", second)["name"] == "manual"
    for changes, code in (({"stps": 1}, "plan-invalid"), ({"steps": [9, 3]}, "plan-invalid")):
        with pytest.raises(ApiError) as caught:
            client.start_release("asked", second, plan="canary", changes=changes)
        assert caught.value.code == code
    assert client.releases(model="asked") == []
    release = client.start_release("asked", second, plan="canary", changes={"steps": [2, 100]})
    assert release["plan_digest"] == shown["digest"]
    client.abort("asked")


def test_another_plan_is_tried_on_what_was_recorded(platform: MemoryPlatform) -> None:
    """A stricter margin would not have been reached; a plan with other metrics says so."""
    client = platform.client
    say(platform, TabledEvidence(units=400_000, candidate={"error-rate": 0.0104}))
    release = started(platform, "tried", guardrails={"error-rate": {"harm_beyond": 0.2}})
    client.wait_release_ended("tried", timeout_s=60)
    same = client.simulate(release["id"], "canary", changes=QUICK)
    assert same["looks"]
    strict = client.simulate(
        release["id"],
        "canary",
        changes=QUICK | {"guardrails": {"error-rate": {"harm_beyond": 0.0, "margin": 0.01}}},
    )
    assert strict["outcome"] != "promote"
    other = {"wrong": {"source": "events:wrong"}, "error-rate": None}
    unknown = client.simulate(release["id"], "canary", changes=QUICK | {"guardrails": other})
    assert (unknown["unknown"], unknown["outcome"]) == (["wrong"], "open")


def test_a_candidate_that_cannot_serve_any_more_is_rolled_back(platform: MemoryPlatform) -> None:
    """A build that crashed its servers loses its traffic, before and after its promotion."""
    client = platform.client
    for name, plan, status in (("crashes", "canary", "running"), ("crashed", "hot", "baking")):
        say(platform, TabledEvidence(units=0))
        started(platform, name, plan=plan, bake_s=600)
        reached(client, name, status)
        platform.target.quarantine(client.version(name, 2)["build_id"], "its servers crashed")
        platform.plane.nudge()
        ended = client.wait_release_ended(name, timeout_s=60)
        assert (ended["status"], ended["reason"]["code"]) == ("rolled-back", "version-quarantined")
        assert client.model(name)["live_version"] == 1


def test_a_new_version_is_released_by_itself_where_the_settings_say_so(tmp_path: Path) -> None:
    """Verified means released, once: neither a version rolled back nor an older one comes again."""
    plan = tmp_path / "quick.yaml"
    plan.write_text("plan: canary\nstep_minimum_s: 0\nbake_s: 0.2\n")
    settings = ReleaseSettings(plan=str(plan), patch_plan="hot", look_s=0.05)
    home = tmp_path / "home"
    home.mkdir()
    with running_memory_platform(home, release=settings) as platform:
        client = platform.client
        platform.live("chain", factor=2.0)
        platform.verified("chain", factor=3.0)  # a PATCH: the same graph, other weights
        until(lambda: client.releases(model="chain"))
        first = newest(client, "chain")
        assert (first["plan"], first["created_by"]) == ("hot", "conch")
        until(lambda: newest(client, "chain")["status"] == "baking")
        say(platform, TabledEvidence(candidate={"error-rate": 0.05}))
        assert client.wait_release_ended("chain", timeout_s=60)["status"] == "rolled-back"
        platform.plane.nudge()
        client.sweep()
        assert [one["id"] for one in client.releases(model="chain")] == [first["id"]]


@pytest.mark.parametrize("plan", ["canary", "blue-green"])
def test_copies_of_requests_come_before_the_first_percent(tmp_path: Path, plan: str) -> None:
    """Nobody meets the candidate until enough answers to copies agreed; then the plan goes on."""
    gate = {"share": 20, "minimum_requests": 50}
    with running_memory_platform(tmp_path, capture=CaptureSettings(enabled=True)) as platform:
        client, evidence = platform.client, platform.evidence
        evidence.copies = ShadowSummary(pairs=49)
        started(platform, "copied", plan=plan, shadow=gate)
        reached(client, "copied", "shadowing")
        until(lambda: platform.target.routes()[TritonName("copied")].mirror is not None)
        split = platform.target.routes()[TritonName("copied")]
        assert split.mirror is not None
        assert (split.mirror.share, split.mirror.release) == (
            2000,
            newest(client, "copied")["id"],
        )
        assert {arm.ordinal: arm.weight for arm in split.arms} == {1: 10_000, 2: 0}
        evidence.copies = ShadowSummary(pairs=100, disagreements=40, labels_differ=40)
        until(lambda: (newest(client, "copied")["hold"] or {}).get("code") == "shadow-differs")
        assert newest(client, "copied")["stages"] == []
        evidence.copies = ShadowSummary(pairs=100)
        ended = client.wait_release_ended("copied", timeout_s=60)
        assert ended["status"] == "promoted"
        assert platform.target.routes()[TritonName("copied")].mirror is None
        decisions = client.decisions(ended["id"], records=True)
        (passed,) = [one for one in decisions if one["code"] == "shadow-passed"]
        assert passed["shadow"]["pairs"] == 100
