"""Two models in the same slots: a release of one changes nothing for the other."""

from __future__ import annotations

import time

import numpy as np
import pytest
from whole_platform import Platform, answers, fresh, perceptron, register

from conch.control.demo.load import Load

pytestmark = pytest.mark.real

ROWS = np.random.default_rng(3).standard_normal((64, 16)).astype(np.float32)


def test_releasing_one_changes_nothing_for_the_other(whole_platform: Platform) -> None:
    """Both answer rightly throughout, share both slots, and keep weights of their own."""
    client, settings = whole_platform.client, whole_platform.settings
    one, other = fresh("left"), fresh("right")
    networks = {one: perceptron(1), other: perceptron(2)}
    for name, network in networks.items():
        register(network, name, settings.mlflow_uri, rows=ROWS)
    client.sweep()
    for name in networks:
        client.wait_live(name, timeout_s=90)
    loads = {
        name: Load(
            url=settings.inference_url,
            model=name,
            rows=ROWS,
            expected={1: answers(network, ROWS)},
            input_name=client.version(name, 1)["signature"]["inputs"][0]["name"],
            output_name=client.version(name, 1)["signature"]["outputs"][0]["name"],
            threads=1,
            grpc_threads=1,
            rate_hz=100,
        )
        for name, network in networks.items()
    }
    following = perceptron(3)
    with loads[one] as left, loads[other] as right:
        register(following, one, settings.mlflow_uri, rows=ROWS)
        client.sweep()
        client.wait_verified(one, 2, timeout_s=90)
        left._expected[2] = answers(following, ROWS)  # type: ignore[index]
        client.start_release(one, 2, weight=30)
        client.wait_release_running(one, timeout_s=60)
        deadline = time.monotonic() + 30
        while left.tally.versions()[2] < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        client.promote(one)
        promoted = time.perf_counter()
        while left.tally.versions(since=promoted)[2] < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
    for load in (left, right):
        assert not load.tally.failed
        assert not load.tally.wrong
    assert set(left.tally.versions()) == {1, 2}
    assert set(left.tally.versions(since=promoted + 0.5)) == {2}
    assert set(right.tally.versions()) == {1}
    arms = {name: client.deployment(name)["arms"] for name in networks}
    assert [(a["slot"], a["weight"]) for a in arms[other]] == [("a", 100.0)]
    assert {a["slot"]: a["weight"] for a in arms[one]} == {"a": 0.0, "b": 100.0}
