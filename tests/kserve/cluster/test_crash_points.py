"""Killed after any write and started again, the target ends where it ends undisturbed.

A kill before a write leaves what a kill after the write before it leaves, so that one of the two is
played. The API server is real; controllers are the stand-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from kserve_clusters import A, B, Lab, build, divided, lab
from kube_apiserver import ApiServer
from kube_clients import Connect
from mortal_clients import KilledError, Mortal

from conch.core import BuildRef, TritonName
from conch.kserve import Traffic
from conch.kserve.cluster import Connection
from conch.kserve.serving.target import KServeTarget

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
LOAD_S = 60.0
SURE = 12
"""Writes that every story has."""
FIRST_SHARE = 3
"""The step that gives the candidate its first share."""


@dataclass(slots=True)
class Story:
    """A first version, a candidate promoted by steps, the end of the former one, and of all."""

    it: Lab
    model: str
    connection: Connection
    one: BuildRef = field(init=False)
    two: BuildRef = field(init=False)
    until_share: int = 0

    def __post_init__(self) -> None:
        self.one, self.two = (build(self.it.folder, n, model=self.model) for n in (1, 2))

    @property
    def steps(self) -> tuple[Callable[[KServeTarget], None], ...]:
        """What the control plane asks for, one after another; each may be asked again."""
        one, two = self.one, self.two
        return (
            lambda target: target.load(one, A, timeout_s=LOAD_S),
            lambda target: target.set_routes([divided((one, A, 100))]),
            lambda target: target.load(two, B, timeout_s=LOAD_S),
            lambda target: target.set_routes([divided((two, B, 10), (one, A, 90))]),
            lambda target: target.set_routes([divided((two, B, 100), (one, A, 0))]),
            lambda target: target.unload(one.model, A),
            self.check,
            lambda target: target.unload(two.model, B),
        )

    def play(self, last: int | None) -> int:
        """Play it, killed after a write; return how many writes there were before the kill."""
        clients: list[Mortal] = []

        def mortal(end: int | None) -> Mortal:
            clients.append(Mortal(self.connection, last=end))
            return clients[-1]

        target = self._started(partial(mortal, last))
        try:
            for number, step in enumerate(self.steps):
                if number == FIRST_SHARE:
                    self.until_share = len(self.it.standin.history)
                try:
                    step(target)
                except KilledError:
                    target.close()
                    target = self._started(partial(mortal, None))
                    step(target)
        finally:
            target.close()
        return clients[0].writes

    def _started(self, connect: Callable[[], Mortal]) -> KServeTarget:
        target = self.it.new_target(connect=connect)
        target.start()
        return target

    def check(self, target: KServeTarget) -> None:
        """The new version alone serves, as it is meant to, and had nothing before its time."""
        model = TritonName(self.model)
        until = time.monotonic() + 20
        while model not in (state := target.observe()).routes:  # once the gateway has taken it
            assert time.monotonic() < until, "the routes are not in force"
            time.sleep(0.02)
        assert [a.build_id for a in state.routes[model].arms if a.weight] == [self.two.build_id]
        held = {(s.slot, m.ordinal) for s in state.servers for m in s.models if m.model == model}
        assert held == {(B, self.two.ordinal)}
        assert target.drift()[model].empty
        early = self.it.standin.history[: self.until_share]
        assert not any(shares.get(self.two.build_id) for shares in early)


@pytest.mark.parametrize("strategy", list(Traffic))
def test_a_kill_after_any_write_ends_the_same(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Every write of a whole story is once the last one of its process."""
    with lab(connect, namespace, strategy, tmp_path, seed=1) as it:
        connection = connect()._connection
        # Its runtime is everybody's: with this model there it is neither made nor removed below.
        it.target.load(build(tmp_path, 1, model="keeper"), A, timeout_s=LOAD_S)
        writes = Story(it, "m", connection).play(None)
        with ThreadPoolExecutor(6) as pool:
            played = [
                pool.submit(Story(it, f"m{last}", connection).play, last) for last in range(writes)
            ]
            counts = [each.result() for each in played]
        # A slow machine makes a write or two twice, here or there: where the first story did, the
        # last ones are over before their kill.
        assert counts[:SURE] == list(range(1, SURE + 1))
        assert all(count <= last + 1 for last, count in enumerate(counts))
    assert objects(apiserver, namespace).keys() == {"keeper"}


def objects(server: ApiServer, namespace: str) -> dict[str, list[str]]:
    """Return the kinds that conch has on the cluster, by workload."""
    found: dict[str, list[str]] = {}
    paths = (
        f"/api/v1/namespaces/{namespace}/configmaps",
        f"/api/v1/namespaces/{namespace}/serviceaccounts",
        f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
        f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices",
        f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
    )
    with server.client() as client:
        for path in paths:
            for body in client.get(path).json()["items"]:
                part = (body["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of")
                if part:
                    found.setdefault(part, []).append(path.rpartition("/")[2])
    return found
