"""The real data plane for tests: supervisor, Triton servers and Envoy on this machine."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpc_client
from handmade_builds import make_build
from tritonclient.utils import InferenceServerException

from conch.core import TOTAL_WEIGHT, Arm, BuildRef, Mirror, SlotName, TrafficSplit, TritonName
from conch.local import (
    LocalSettings,
    LocalTarget,
    Runtime,
    install,
    launch,
    read_observed,
    stop,
    wait_until_ready,
)
from conch.local.homes import Home
from conch.local.instances import Phase

A, B = SlotName("a"), SlotName("b")
X = np.ones((1, 4), np.float32)
"""An input; a hand-made build of version n answers it with 2 + n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def version(self) -> int:
        """The version that computed it, read from the numbers."""
        return int(self.json["outputs"][0]["data"][0]) - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlatform:
    """A running home."""

    home: Path
    target: LocalTarget
    port: int

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"127.0.0.1:{self.port}"

    def build(self, model: str, ordinal: int, *, behaviour: str = "answer") -> BuildRef:
        """Make a build by hand."""
        return make_build(self.home / "builds", model, ordinal, behaviour=behaviour)

    def connection(self) -> http.client.HTTPConnection:
        """Open a keep-alive connection to the gateway."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path, sent exactly as written."""
        return ask(self.connection(), "GET", path, None, headers)

    def infer(
        self,
        model: str,
        *,
        unit: str | None = None,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Send `X` over HTTP."""
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": "y"}]})
        sent = {**(headers or {}), **({} if unit is None else {"x-conch-unit": unit})}
        where = path or f"/v2/models/{model}/infer"
        return ask(connection or self.connection(), "POST", where, body, sent)

    def pid(self, name: str) -> int:
        """Return the process number of something under supervision."""
        pid = self.pid_or_none(name)
        assert pid is not None
        return pid

    def pid_or_none(self, name: str) -> int | None:
        """Return it; None while there is no such process."""
        observed = read_observed(Home(self.home))
        assert observed is not None
        return observed.instances[name].pid

    def phase(self, name: str) -> Phase | None:
        """Return where something under supervision is in its life; None where it is not there."""
        observed = read_observed(Home(self.home))
        assert observed is not None
        one = observed.instances.get(name)
        return None if one is None else one.phase

    def asserted(self, name: str) -> Mapping[str, int]:
        """Return what the supervisor saw a server hold."""
        observed = read_observed(Home(self.home))
        assert observed is not None
        return observed.instances[name].asserted

    def processes(self) -> list[psutil.Process]:
        """Return every process of this home, children of servers included."""
        found = []
        for process in psutil.process_iter():
            try:
                mark = process.environ().get("CONCH_SUPERVISED_HOME")
                if mark == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | bytes | None,
    headers: Mapping[str, str] | None,
) -> Answer:
    """Send one request and read its answer."""
    connection.request(method, path, body=body, headers=dict(headers or {}))
    answer = connection.getresponse()
    return Answer(
        status=answer.status,
        headers={key.lower(): value for key, value in answer.getheaders()},
        body=answer.read(),
    )


def split_of(
    model: str,
    *arms: tuple[str, BuildRef, int],
    salt: str = "r1",
    release: str = "",
    stage: int = 0,
    captured: int = 0,
    mirror: Mirror | None = None,
) -> TrafficSplit:
    """Return a split from (slot, build, weight), the candidate first."""
    return TrafficSplit(
        model=TritonName(model),
        salt=salt,
        release=release,
        stage=stage,
        captured=captured,
        mirror=mirror,
        arms=tuple(
            Arm(slot=SlotName(slot), ordinal=build.ordinal, build_id=build.build_id, weight=weight)
            for slot, build, weight in arms
        ),
    )


def all_to(model: str, slot: str, build: BuildRef) -> TrafficSplit:
    """Return the split that sends everybody to one slot."""
    return split_of(model, (slot, build, TOTAL_WEIGHT))


@contextmanager
def running_platform(
    home: Path, runtime: Runtime, settings: LocalSettings | None = None
) -> Iterator[LocalPlatform]:
    """Start a platform in a folder; everything of it has ended when the block is left."""
    settings = settings or LocalSettings(inference_port=0)
    target = LocalTarget(home, runtime=runtime, settings=settings)
    try:
        launch(home)
        observed = wait_until_ready(home, timeout_s=60)
        assert observed.inference_port is not None
        yield LocalPlatform(home=home, target=target, port=observed.inference_port)
    finally:
        stop(home)


@pytest.fixture(scope="session")
def serving_runtime() -> Runtime:
    """The serving runtime, installed into the user's cache by the first test that asks."""
    return install()


@pytest.fixture(scope="session")
def local_platform(
    tmp_path_factory: pytest.TempPathFactory, serving_runtime: Runtime
) -> Iterator[LocalPlatform]:
    """A platform with slots a and b that the whole session shares; no test breaks it."""
    with running_platform(tmp_path_factory.mktemp("platform"), serving_runtime) as platform:
        yield platform


class Traffic:
    """Callers that ask a model without pause, over HTTP and gRPC, until the block is left.

    Attributes:
        answers: `(when, version that answered, version that the gateway named)`; over gRPC the
            last is 0, since that client does not show headers.
        failures: What went wrong, in words.
    """

    def __init__(
        self, platform: LocalPlatform, model: str, *, http: int = 2, grpc: int = 1
    ) -> None:
        self._platform = platform
        self._model = model
        self._end = threading.Event()
        self.answers: list[tuple[float, int, int]] = []
        self.failures: list[str] = []
        loops = [self._over_http] * http + [self._over_grpc] * grpc
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in loops]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def versions(self) -> set[int]:
        """Return the versions that answered so far."""
        return {version for _, version, _ in list(self.answers)}

    def wait_for(self, more: int, *, timeout_s: float = 20.0) -> None:
        """Return after so many further answers."""
        goal, deadline = len(self.answers) + more, time.monotonic() + timeout_s
        while len(self.answers) < goal:
            assert time.monotonic() < deadline, f"{len(self.answers)} answers; {self.failures}"
            time.sleep(0.005)

    def _over_http(self) -> None:
        connection = self._platform.connection()
        while not self._end.is_set():
            try:
                answer = self._platform.infer(self._model, connection=connection)
                if answer.status == 200:
                    named = int(answer.headers["x-conch-version"])
                    self.answers.append((time.monotonic(), answer.version, named))
                else:
                    self.failures.append(f"{answer.status} {answer.body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()

    def _over_grpc(self) -> None:
        tensor = grpc_client.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(X)
        with grpc_client.InferenceServerClient(self._platform.address) as client:
            while not self._end.is_set():
                try:
                    answer = client.infer(self._model, [tensor]).as_numpy("y")
                    self.answers.append((time.monotonic(), int(answer[0, 0]) - 2, 0))
                except InferenceServerException as error:
                    self.failures.append(str(error))


def until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> float:
    """Poll until a condition holds; return the seconds that it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "the condition did not come about in time"
        time.sleep(0.01)
    return time.monotonic() - start
