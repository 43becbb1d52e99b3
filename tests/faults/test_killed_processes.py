"""`kill -9` of every process of a platform, under load over HTTP and gRPC with checked answers."""

from __future__ import annotations

from collections.abc import Iterator

import inflicting
import pytest
from inflicting import Subject, subject, watched
from whole_platform import running_whole_platform

from conch.control.settings import ServingSettings

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def it() -> Iterator[Subject]:
    """A model on a platform of its own, with two servers in each slot."""
    with running_whole_platform(serving=ServingSettings(replicas=2)) as platform:
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
        assert inflicting.kill_all_servers(it) < 10
    assert load.tally.wrong == []


def test_the_gateway_is_back_in_seconds(it: Subject) -> None:
    """Requests are answered again within 10 s, with the routes that were in force."""
    with watched(it.load()) as load:
        assert inflicting.kill_gateway(it) < 10
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
