"""A stand-in for requests on a cluster, and for the payload logger of KServe's agent before them.

Each request goes to a build by the division that is in force behind the stand-in for KServe, and is
told to where the InferenceService's logger points, over HTTP, as the agent does: a CloudEvent in
binary mode for the request, another for the answer where that has status 200 (KServe `pkg/logger`).
Nothing is inferred.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
from kserve_standin import StandIn

_PREFIX = "org.kubeflow.serving.inference"
_CALLERS = 8
_PAUSE_S = 0.02


class Traffic:
    """Requests without end, in a thread for each caller.

    Attributes:
        failing: The share of a build's requests that are not answered with 200.
        silent: Whether the logger's deliveries get lost.
        lost: The share of deliveries that get lost, each by itself.
        refused: Deliveries that were not taken: status and body of the answer.
    """

    def __init__(self, standin: StandIn, *, seed: int) -> None:
        self._standin = standin
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.failing: dict[str, float] = {}
        self.silent = False
        self.lost = 0.0
        self.refused: list[tuple[int, str]] = []

    def run(self) -> None:
        """Send until stopped."""
        with httpx.Client(timeout=10) as client:
            while not self._stop.wait(_PAUSE_S):
                self._one(client)

    def stop(self) -> None:
        """End it."""
        self._stop.set()

    def _one(self, client: httpx.Client) -> None:
        shares, pods = dict(self._standin.history[-1]), self._standin.pods()
        build = self._random.choices([*shares], [*shares.values()])[0]
        if build not in pods:
            return
        service, pod, sink = pods[build]
        moment = datetime.now(UTC)
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.UUID(int=self._random.getrandbits(128))),
            "ce-source": pod,
            "ce-inferenceservicename": service,
            "content-type": "application/json",
        }
        self._tell(client, sink, headers, "request", moment)
        if self._random.random() >= self.failing.get(build, 0.0):
            answered = moment + timedelta(milliseconds=self._random.uniform(2, 20))
            self._tell(client, sink, headers, "response", answered)

    def _tell(
        self,
        client: httpx.Client,
        sink: str,
        headers: Mapping[str, str],
        kind: str,
        moment: datetime,
    ) -> None:
        if self.silent or self._random.random() < self.lost:
            return
        stamped = {"ce-type": f"{_PREFIX}.{kind}", "ce-time": moment.isoformat()}
        answer = client.post(sink, headers={**headers, **stamped}, content=b'{"inputs": []}')
        if answer.status_code != 202:
            self.refused.append((answer.status_code, answer.text))


@contextmanager
def traffic(standin: StandIn, *, seed: int) -> Iterator[Traffic]:
    """Send requests for the block; every delivery has to be taken."""
    it = Traffic(standin, seed=seed)
    threads = [threading.Thread(target=it.run, daemon=True) for _ in range(_CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield it
    finally:
        it.stop()
        for thread in threads:
            thread.join(30)
    assert it.refused == []
