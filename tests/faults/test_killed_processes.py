"""`kill -9` of every process, and a model that crashes servers: under load, every answer checked.

Over HTTP and gRPC, on a platform of its own with two servers in each slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import inflicting
import pytest
from inflicting import ROWS, Subject, subject, until, watched
from poisoning import poison
from whole_platform import answers, perceptron, register, running_whole_platform

from conch.control.settings import ReleaseSettings, ServingSettings

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def it() -> Iterator[Subject]:
    """A model on a platform of its own, with two servers in each slot, a second after it baked."""
    given = {"serving": ServingSettings(replicas=2), "release": ReleaseSettings(bake_s=1)}
    with running_whole_platform(**given) as platform:
        yield subject(platform, "hurt", seed=11)


def test_one_server_of_two_costs_nothing(it: Subject) -> None:
    """No request fails and no answer is wrong while one of a slot's two servers is replaced."""
    with watched(it.load()) as load:
        inflicting.kill_one_server(it)
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_all_servers_of_a_slot_are_back_in_seconds(it: Subject) -> None:
    """The model answers again within 10 s, and what it answers is right."""
    with watched(it.load()) as load:
        assert inflicting.kill_all_servers(it).total_s < 10
    assert load.tally.wrong == []


def test_the_gateway_is_back_in_seconds(it: Subject) -> None:
    """Requests are answered again within 10 s, with the routes that were in force."""
    with watched(it.load()) as load:
        assert inflicting.kill_gateway(it).total_s < 10
    assert load.tally.wrong == []
    assert it.platform.client.status()["target"]["gateway_ready"]


def test_inference_does_not_notice_the_control_plane(it: Subject) -> None:
    """Without a control plane every request is answered; started again, it knows what serves."""
    before = it.platform.client.deployment(it.model)
    with watched(it.load()) as load:
        inflicting.kill_control(it)
    assert load.tally.failed == []
    assert load.tally.wrong == []
    assert it.platform.client.deployment(it.model) == before


def test_inference_does_not_notice_the_supervisor(it: Subject) -> None:
    """Its successor takes every process over; nothing is started again."""
    with watched(it.load()) as load:
        inflicting.kill_supervisor(it)
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_a_build_survives_its_worker(it: Subject) -> None:
    """A version whose build lost its process is built again, and inference does not notice."""
    with watched(it.load()) as load:
        inflicting.kill_build_worker(it)
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_inference_does_not_notice_mlflow(it: Subject) -> None:
    """MLflow is started again by the supervisor, and the registry is followed again."""
    with watched(it.load()) as load:
        inflicting.kill_mlflow(it)
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_a_candidate_that_crashes_servers_is_taken_back_and_quarantined(it: Subject) -> None:
    """Its release ends by itself, all callers are with the live version, neighbours lose nothing.

    Its program is made to crash its server (SIGSEGV) at the fortieth execution, after the checks.
    """
    client, settings = it.platform.client, it.platform.settings
    beside = subject(it.platform, "beside", seed=13)
    number = register(perceptron(14), it.model, settings.mlflow_uri, rows=ROWS)
    client.sweep()
    version = client.wait_verified(it.model, number, timeout_s=120)
    it.expected[int(version["ordinal"])] = answers(perceptron(14), ROWS)
    poison(Path(client.build(version["build_id"])["path"]), crash_at=40)
    live = client.model(it.model)["live_version"]
    with watched(beside.load()) as neighbours, watched(it.load()) as load:
        client.start_release(it.model, number, weight=50)
        client.wait_release_running(it.model, timeout_s=60)
        until(lambda: client.releases(model=it.model)[0]["status"] == "failed", timeout_s=60)
        until(lambda: shares(it) == {live: 100.0}, timeout_s=30)
    assert neighbours.tally.failed == []
    assert neighbours.tally.wrong == []
    assert load.tally.wrong == []
    assert client.build(version["build_id"])["status"] == "quarantined"
    assert client.releases(model=it.model)[0]["reason"]["code"] == "candidate-failed"
    assert client.model(it.model)["live_version"] == live
    with watched(it.load()) as after:
        pass
    assert after.tally.failed == []


def shares(it: Subject) -> dict[int, float]:
    """Return the weights in force by version, in percent."""
    arms = it.platform.client.deployment(it.model)["arms"]
    return {arm["version"]: arm["weight"] for arm in arms}
