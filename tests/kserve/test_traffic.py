"""Traffic on a cluster: whatever happens when, weight stands on the verified version alone.

The API server is real; KServe's, Knative's and the gateway's controllers are the stand-in.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from kserve_clusters import A, B, Lab, build, divided, lab
from kserve_standin import Fault
from kube_apiserver import ApiServer
from kube_clients import Connect

from conch.core import BuildRef, ConchError, SlotName
from conch.kserve import Traffic
from conch.kserve.serving.errors import (
    LoadPendingError,
    NotLoadedError,
    SlotInUseError,
    WeightsHeldBackError,
)

pytestmark = pytest.mark.real
LOAD_S = 60.0
strategies = pytest.mark.parametrize("strategy", list(Traffic))


class Driver:
    """Moves traffic as the release engine does, and knows which builds may have any."""

    def __init__(self, it: Lab) -> None:
        self._it = it
        self._read = 0
        self.allowed: set[str] = set()

    def load(self, which: BuildRef, slot: SlotName, *, timeout_s: float = LOAD_S) -> None:
        if not self.allowed:
            self.allowed.add(which.build_id)  # a first version has nothing beside it to protect
        self._it.target.load(which, slot, timeout_s=timeout_s)
        self.check()

    def divide(self, *arms: tuple[BuildRef, SlotName, int]) -> None:
        self.allowed |= {each.build_id for each, _, percent in arms if percent}
        self._it.target.set_routes([divided(*arms)])
        self.check()
        self.allowed -= {each.build_id for each, _, percent in arms if not percent}

    def unload(self, which: BuildRef, slot: SlotName) -> None:
        self._it.target.unload(which.model, slot)
        self.check()

    def check(self) -> None:
        """No weight above 0 stood on a build that may not have any, at any moment until now."""
        history = self._it.standin.history
        for shares in history[self._read :]:
            wrong = {name: share for name, share in shares.items() if share}
            assert wrong.keys() <= self.allowed, (shares, self.allowed)
        self._read = len(history)

    @property
    def now(self) -> dict[str, float]:
        """The division in force."""
        shares = self._it.standin.history[-1]
        return {name: share for name, share in shares.items() if share}


@strategies
@pytest.mark.parametrize("seed", range(4))
def test_no_weight_ever_stands_on_another_than_the_verified_version(
    strategy: Traffic,
    seed: int,
    connect: Connect,
    apiserver: ApiServer,
    namespace: str,
    tmp_path: Path,
) -> None:
    """Promotion, rollback on harm, a candidate that never gets ready, and a third version after."""
    with lab(connect, namespace, strategy, tmp_path, seed=seed) as it:
        one, two, three, four = (build(tmp_path, number) for number in (1, 2, 3, 4))
        it.standin.faults[three.build_id] = Fault.BLOCKED if seed % 2 else Fault.NEVER_READY
        driver = Driver(it)
        driver.load(one, A)
        driver.divide((one, A, 100))
        assert driver.now == {one.build_id: 100}

        driver.load(two, B)  # promoted
        assert driver.now == {one.build_id: 100}
        driver.divide((two, B, 10), (one, A, 90))
        assert driver.now == {two.build_id: 10, one.build_id: 90}
        driver.divide((two, B, 100), (one, A, 0))
        assert driver.now == {two.build_id: 100}
        driver.unload(one, A)

        with pytest.raises((NotLoadedError, LoadPendingError)):  # never ready
            driver.load(three, A, timeout_s=1.5)
        with pytest.raises(WeightsHeldBackError):
            it.target.set_routes([divided((three, A, 10), (two, B, 90))])
        driver.check()
        assert driver.now == {two.build_id: 100}
        driver.unload(three, A)

        driver.load(four, A)  # rolled back on harm
        driver.divide((four, A, 50), (two, B, 50))
        driver.divide((four, A, 0), (two, B, 100))
        assert driver.now == {two.build_id: 100}
        driver.unload(four, A)
        assert driver.now == {two.build_id: 100}

        five = build(tmp_path, 5)  # issue 2130: what was rolled back gets nothing from the next
        driver.load(five, A)
        driver.divide((five, A, 20), (two, B, 80))
        assert driver.now == {five.build_id: 20, two.build_id: 80}


@strategies
def test_a_promoted_version_is_taken_back(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """While the version before is kept, all traffic goes back to it, and nowhere else meanwhile."""
    with lab(connect, namespace, strategy, tmp_path, seed=7) as it:
        one, two = build(tmp_path, 1), build(tmp_path, 2)
        driver = Driver(it)
        driver.load(one, A)
        driver.divide((one, A, 100))
        driver.load(two, B)
        driver.divide((two, B, 100), (one, A, 0))
        driver.divide((one, A, 100), (two, B, 0))
        assert driver.now == {one.build_id: 100}
        driver.unload(two, B)
        assert driver.now == {one.build_id: 100}


@strategies
def test_a_slot_with_traffic_does_not_change_its_build(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """What callers get is never replaced under them, nor taken away; loading it again is fine."""
    with lab(connect, namespace, strategy, tmp_path) as it:
        one, two = build(tmp_path, 1), build(tmp_path, 2)
        it.target.load(one, A, timeout_s=LOAD_S)
        it.target.set_routes([divided((one, A, 100))])
        it.target.load(two, B, timeout_s=LOAD_S)
        it.target.set_routes([divided((two, B, 10), (one, A, 90))])
        with pytest.raises(SlotInUseError):
            it.target.load(build(tmp_path, 3), B, timeout_s=LOAD_S)
        for which, slot in ((one, A), (two, B)):
            with pytest.raises(SlotInUseError):
                it.target.unload(which.model, slot)
            it.target.load(which, slot, timeout_s=LOAD_S)
        state = it.target.observe()
        assert state.routes == {one.model: divided((two, B, 10), (one, A, 90))}
        assert [server.holds(one.model, one.ordinal) for server in state.servers] == [True, False]
        assert [server.holds(two.model, two.ordinal) for server in state.servers] == [False, True]


@strategies
def test_the_last_slot_takes_everything_with_it(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """After a model's last slot nothing of conch's is left in the namespace."""
    with lab(connect, namespace, strategy, tmp_path) as it:
        one = build(tmp_path, 1)
        it.target.load(one, A, timeout_s=LOAD_S)
        it.target.set_routes([divided((one, A, 100))])
        it.target.unload(one.model, A)
        state = it.target.observe()
        assert state.routes == {}
        assert all(server.models == () for server in state.servers)
    with apiserver.client() as client:
        base = "/apis/serving.kserve.io/v1beta1"
        found = client.get(f"{base}/namespaces/{namespace}/inferenceservices").json()["items"]
        maps = client.get(f"/api/v1/namespaces/{namespace}/configmaps").json()["items"]
    assert found == []
    assert [item["metadata"]["name"] for item in maps if "conch" in item["metadata"]["name"]] == []


@strategies
def test_another_process_goes_on_from_what_is_written(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Instances hold no state: a second one sees, and moves, what the first one left."""
    with lab(connect, namespace, strategy, tmp_path) as it:
        one, two = build(tmp_path, 1), build(tmp_path, 2)
        it.target.load(one, A, timeout_s=LOAD_S)
        it.target.set_routes([divided((one, A, 100))])
        it.target.load(two, B, timeout_s=LOAD_S)
        before = it.target.observe()
        with it.new_target() as other:
            assert other.observe() == before
            other.set_routes([divided((two, B, 25), (one, A, 75))])
        driver = Driver(it)
        assert driver.now == {two.build_id: 25, one.build_id: 75}


def test_a_share_that_a_strategy_cannot_do_is_refused(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Half a percent is refused where only whole ones exist, before anything is written."""
    with lab(connect, namespace, Traffic.PERCENT, tmp_path) as it:
        one, two = build(tmp_path, 1), build(tmp_path, 2)
        it.target.load(one, A, timeout_s=LOAD_S)
        it.target.set_routes([divided((one, A, 100))])
        it.target.load(two, B, timeout_s=LOAD_S)
        from dataclasses import replace

        split = divided((two, B, 1), (one, A, 99))
        arms = (replace(split.arms[0], weight=50), replace(split.arms[1], weight=9950))
        with pytest.raises(ConchError, match=r"0\.5 %"):
            it.target.set_routes([replace(split, arms=arms)])
