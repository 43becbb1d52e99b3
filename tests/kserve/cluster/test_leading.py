"""Two control planes, and people, on one namespace of a real API server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kserve_clusters import A, B, build, divided, lab
from kube_apiserver import ApiServer
from kube_clients import Connect

from conch.core import TritonName
from conch.kserve import Traffic
from conch.kserve.cluster import Cluster, ClusterLease
from conch.kserve.serving.errors import NotAnsweringError, NotLeadingError

pytestmark = pytest.mark.real
LOAD_S = 60.0


class Clock:
    """Monotonic seconds that stand until they are moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def contender(
    cluster: Cluster, namespace: str, holder: str, clock: Any, *, duration_s: int = 15
) -> ClusterLease:
    """Return one contender for the namespace's lease."""
    return ClusterLease(
        cluster=cluster,
        namespace=namespace,
        name="conch",
        holder=holder,
        clock=clock,
        duration_s=duration_s,
    )


def test_one_of_two_has_the_lease(connect: Connect, namespace: str) -> None:
    """Made at once by two, one gets it; kept while renewed; taken over once it stood still for its
    whole time on the other's own clock; given up, the other need not wait."""

    async def story() -> None:
        async with connect() as first, connect() as second:
            clock = Clock()
            one = contender(first, namespace, "one", clock)
            two = contender(second, namespace, "two", clock)
            assert sum(await asyncio.gather(one.renew(), two.renew())) == 1
            holder, other = (one, two) if one.held else (two, one)
            for _ in range(3):
                clock.at += 10
                assert await holder.renew()
                assert not await other.renew()
            clock.at += 14.9
            assert not await other.renew()
            clock.at += 0.1
            assert await other.renew()
            assert not await holder.renew()
            await other.release()
            assert await holder.renew()

    asyncio.run(story())


def test_a_second_control_plane_sees_and_does_not_write(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """It looks on while another leads, and acts as soon as that one has gone."""

    def lease_of(holder: str) -> Any:
        return lambda cluster: contender(cluster, namespace, holder, time.monotonic, duration_s=1)

    one, two = build(tmp_path, 1), build(tmp_path, 2)
    with (
        lab(connect, namespace, Traffic.SLOTS, tmp_path) as it,
        it.new_target(lease=lease_of("one")) as leads,
    ):
        leads.load(one, A, timeout_s=LOAD_S)
        leads.set_routes([divided((one, A, 100))])
        with it.new_target(lease=lease_of("two")) as second:
            with pytest.raises(NotLeadingError):
                second.load(two, B, timeout_s=LOAD_S)
            assert second.observe() == leads.observe()
            assert B not in second.held(one.model).slots
            leads.close()
            until = time.monotonic() + 20
            while True:
                try:
                    second.load(two, B, timeout_s=LOAD_S)
                    break
                except NotLeadingError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            assert second.held(one.model).slots.keys() == {A, B}


@pytest.mark.parametrize("strategy", list(Traffic))
def test_what_a_person_deletes_is_seen_and_made_again(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Every InferenceService gone: not ready, shown as drift; loading again brings it back."""
    one = build(tmp_path, 1)
    with lab(connect, namespace, strategy, tmp_path, seed=2) as it:
        it.target.load(one, A, timeout_s=LOAD_S)
        it.target.set_routes([divided((one, A, 100))])
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
        with apiserver.client() as client:
            for body in client.get(path).json()["items"]:
                assert client.delete(f"{path}/{body['metadata']['name']}").is_success
        until = time.monotonic() + 20
        while it.target.observe().servers[0].holds(one.model, one.ordinal):
            assert time.monotonic() < until
            time.sleep(0.02)
        plan = it.target.drift()[one.model]
        assert [write.body["kind"] for write in plan.writes] == ["InferenceService"]
        it.target.load(one, A, timeout_s=LOAD_S)
        assert it.target.drift()[one.model].empty
        assert it.target.observe().servers[0].holds(one.model, one.ordinal)


def test_a_slot_that_holds_nothing_does_not_answer(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """There is no address to ask, and the error says which slot."""
    with (
        lab(connect, namespace, Traffic.SLOTS, tmp_path) as it,
        pytest.raises(NotAnsweringError, match="'b'"),
    ):
        it.target.infer(TritonName("digits"), B, {"x": np.zeros(1)}, timeout_s=1)
