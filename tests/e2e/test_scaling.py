"""More and fewer servers in a slot while callers ask, and after everything was stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from inflicting import Subject, subject, until, watched
from whole_platform import Platform, running_whole_platform

from conch.control import platform as running
from conch.control.client import ApiError
from conch.control.settings import ReleaseSettings, ServingSettings

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A platform of its own, with one server in each slot."""
    with running_whole_platform(release=ReleaseSettings(bake_s=1)) as found:
        yield found


@pytest.fixture(scope="module")
def it(platform: Platform) -> Subject:
    """One of two models that share a slot."""
    subject(platform, "beside", seed=42)
    return subject(platform, "scaled", seed=41)


def servers(it: Subject) -> dict[str, int]:
    """Return how many servers each slot has that hold both models, and are ready."""
    state = it.platform.client.status()["target"]
    found: dict[str, int] = {"a": 0, "b": 0}
    for server in state["servers"]:
        held = {model["model"] for model in server["models"] if model["ready"]}
        found[server["slot"]] += held == {"beside", "scaled"}
    return found


def test_scaling_up_and_down_loses_no_request(it: Subject) -> None:
    """New servers hold everything before they are asked; those that leave finish first."""
    client, settings = it.platform.client, it.platform.settings
    with watched(it.load()) as load:
        assert client.scale(3, slot="a")["slots"] == {"a": 3, "b": 1}
        running.wait(settings, timeout_s=60)
        assert servers(it)["a"] == 3
        until(lambda: client.deployment("scaled")["replica_count"] == 3, timeout_s=30)
        goal = len(load.tally.answers) + 60
        until(lambda: len(load.tally.answers) >= goal, timeout_s=30)
        client.scale(1, slot="a")
        until(lambda: processes(it) == {"a": 1, "b": 1}, timeout_s=30)
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_the_number_survives_a_stop_until_the_settings_change(it: Subject) -> None:
    """`down` and `up` keep what was scaled; another number in the settings takes its place."""
    client, settings = it.platform.client, it.platform.settings
    client.scale(2, slot="a")
    running.wait(settings, timeout_s=60)
    running.down(settings)
    running.up(settings)
    assert processes(it) == {"a": 2, "b": 1}
    until(it.answers, timeout_s=30)
    running.down(settings)
    changed = settings.model_copy(update={"serving": ServingSettings(replicas=2)})
    running.up(changed)
    assert processes(it) == {"a": 2, "b": 2}
    with pytest.raises(ApiError) as refused:
        client.scale(2, slot="nowhere")
    assert refused.value.code == "invalid-value"


def processes(it: Subject) -> dict[str, int]:
    """Return how many servers each slot has, ready or not."""
    names = [one.name for one in running.status(it.platform.settings).processes]
    return {slot: sum(name.startswith(f"triton-{slot}-") for name in names) for slot in ("a", "b")}
