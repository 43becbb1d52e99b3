"""Faults done to a whole platform that runs, and how long each took to be over.

Used by the fault tests and by `benchmarks/faults.py`, so that both speak of the same faults.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import psutil
from whole_platform import Platform, answers, perceptron, register

from conch import local
from conch.control import platform as running
from conch.control.demo.load import Load
from conch.core import ConchError

ROWS: Final = np.random.default_rng(5).standard_normal((64, 16)).astype(np.float32)
_WORKER: Final = "conch.model_repo_builder.worker"
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A platform, and the model of it that is asked throughout.

    Attributes:
        platform: What is hurt.
        model: The model's name, the same in the registry and on the wire.
        expected: By Triton's version, what it answers on `ROWS`.
    """

    platform: Platform
    model: str
    expected: dict[int, np.ndarray]
    input_name: str
    output_name: str

    def load(self, *, rate_hz: float = 60, grpc_threads: int = 1) -> Load:
        """Return a load on the model over HTTP and gRPC, every answer checked."""
        return Load(
            url=self.platform.settings.inference_url,
            model=self.model,
            rows=ROWS,
            expected=self.expected,
            input_name=self.input_name,
            output_name=self.output_name,
            threads=2,
            grpc_threads=grpc_threads,
            rate_hz=rate_hz,
        )

    def answers(self) -> bool:
        """Ask once over HTTP; tell whether the answer came and is right."""
        row = ROWS[:1]
        tensor = {
            "name": self.input_name,
            "datatype": "FP32",
            "shape": list(row.shape),
            "data": row.ravel().tolist(),
        }
        address = urlsplit(self.platform.settings.inference_url).netloc
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            body = json.dumps({"inputs": [tensor]})
            connection.request("POST", f"/v2/models/{self.model}/infer", body)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status != http.client.OK:
            return False
        value = json.loads(text)
        found = np.asarray(value["outputs"][0]["data"], np.float32)
        expected = self.expected[int(value["model_version"])][0]
        return bool(np.allclose(found, expected, atol=1e-3))


def subject(platform: Platform, model: str, *, seed: int, baked: bool = True) -> Subject:
    """Register a model, wait until it is live (and `baked`), and return it as subject of faults."""
    network = perceptron(seed)
    number = register(network, model, platform.settings.mlflow_uri, rows=ROWS)
    platform.client.sweep()
    platform.client.wait_live(model, number, timeout_s=120)
    version = platform.client.version(model, number)
    found = Subject(
        platform=platform,
        model=model,
        expected={int(version["ordinal"]): answers(network, ROWS)},
        input_name=version["signature"]["inputs"][0]["name"],
        output_name=version["signature"]["outputs"][0]["name"],
    )
    if baked:
        wait_baked(found)
    return found


def wait_baked(it: Subject, *, timeout_s: float = 60.0) -> None:
    """Wait until the live version is off its trial: then a killed server costs it no request."""
    until(lambda: all(arm["baked"] for arm in _serving(it)), timeout_s=timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How long a fault took to be over.

    Attributes:
        total_s: From the fault until everything is as it was.
        conch_s: The part that is conch's: until the fault was noticed and what died was started
            again. The rest is what the new process takes to start, and the work that it does.
    """

    total_s: float
    conch_s: float


def kill_one_server(it: Subject) -> Recovery:
    """`kill -9` of one of the live slot's servers; over when it is ready again."""
    return _killed(it, [f"triton-{_live_slot(it)}-0"], lambda: _ready(it))


def kill_all_servers(it: Subject) -> Recovery:
    """`kill -9` of every server of the live slot; over when the model answers again."""
    slot = _live_slot(it)
    names = [name for name in _processes(it) if name.startswith(f"triton-{slot}-")]
    return _killed(it, names, it.answers)


def kill_gateway(it: Subject) -> Recovery:
    """`kill -9` of Envoy; over when the model answers again."""
    return _killed(it, ["envoy"], it.answers)


def kill_control(it: Subject) -> Recovery:
    """`kill -9` of the control plane; over when it leads and has seen everything again."""
    return _killed(it, [running.CONTROL], lambda: _fit(it))


def kill_mlflow(it: Subject) -> Recovery:
    """`kill -9` of conch's own MLflow server; over when the registry can be swept again."""
    return _killed(it, [running.MLFLOW], lambda: _swept(it))


def kill_supervisor(it: Subject) -> Recovery:
    """`kill -9` of the supervisor, then `conch up`; over when it has adopted everything."""
    home = running.serving_home(it.platform.settings)
    before = {name: process.pid for name, process in _processes(it).items()}
    pid = local.running(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: local.running(home) is None, timeout_s=10)
    start = time.perf_counter()
    running.up(it.platform.settings)
    took = time.perf_counter() - start
    assert {name: process.pid for name, process in _processes(it).items()} == before
    return Recovery(total_s=took, conch_s=took)


def kill_build_worker(it: Subject) -> Recovery:
    """`kill -9` of the process that builds a new version; over when that version is verified."""
    for _ in range(_TRIES):
        if (recovery := _kill_while_building(it)) is not None:
            return recovery
    raise AssertionError(f"none of {_TRIES} builds was seen under way")


def _kill_while_building(it: Subject) -> Recovery | None:
    """Return None where the build was over before it was hit: a warm worker takes a second."""
    network = perceptron(time.time_ns() % 2**32)
    client = it.platform.client
    workers = until_some(lambda: build_workers(it))
    number = register(network, it.model, it.platform.settings.mlflow_uri, rows=ROWS)
    client.sweep(wait=False)
    until(lambda: _building(it, number) or _verified(it, number), timeout_s=60)
    for process in workers:
        process.kill()
    start = time.perf_counter()
    gone = {process.pid for process in workers}

    def replaced() -> bool:
        return any(one.pid not in gone for one in build_workers(it))

    until(lambda: replaced() or _verified(it, number), timeout_s=30)
    replaced_s = time.perf_counter() - start if replaced() else None
    ordinal = int(client.wait_verified(it.model, number, timeout_s=120)["ordinal"])
    it.expected[ordinal] = answers(network, ROWS)
    if replaced_s is None:
        return None
    return Recovery(total_s=time.perf_counter() - start, conch_s=replaced_s)


FAULTS: Final[Mapping[str, Callable[[Subject], Recovery]]] = {
    "one server of two": kill_one_server,
    "all servers of a slot": kill_all_servers,
    "gateway": kill_gateway,
    "control plane": kill_control,
    "supervisor": kill_supervisor,
    "build worker": kill_build_worker,
    "MLflow": kill_mlflow,
}
"""By name, every fault here; each returns how long it took to be over."""


def until(condition: Callable[[], bool], *, timeout_s: float) -> float:
    """Look until a condition holds; return the seconds that it took."""
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < timeout_s, "the condition did not come about in time"
        time.sleep(0.01)
    return time.perf_counter() - start


def until_some(look: Callable[[], list[Any]], *, timeout_s: float = 60.0) -> list[Any]:
    """Look until there is something, and return it."""
    until(lambda: bool(look()), timeout_s=timeout_s)
    return look()


@contextmanager
def watched(load: Load, *, answers: int = 60, timeout_s: float = 60.0) -> Iterator[Load]:
    """Run a load around a block: so many right answers before it and after it."""
    with load:
        until(lambda: len(load.tally.answers) >= answers, timeout_s=timeout_s)
        yield load
        goal = len(load.tally.answers) + answers
        until(lambda: len(load.tally.answers) >= goal, timeout_s=timeout_s)


def build_workers(it: Subject) -> list[psutil.Process]:
    """Return the build workers of the platform's control plane."""
    control = _processes(it)[running.CONTROL].pid
    try:
        below = psutil.Process(control).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in below:
        try:
            if _WORKER in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _killed(it: Subject, names: list[str], over: Callable[[], bool]) -> Recovery:
    before = _processes(it)
    for name in names:
        pid = before[name].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    start = time.perf_counter()
    until(lambda: all(_replaced(it, name, before[name].pid) for name in names), timeout_s=30)
    replaced = time.perf_counter() - start
    until(over, timeout_s=90)
    return Recovery(total_s=time.perf_counter() - start, conch_s=replaced)


def _replaced(it: Subject, name: str, pid: int | None) -> bool:
    return _processes(it)[name].pid not in (None, pid)


def _processes(it: Subject) -> dict[str, Any]:
    return {one.name: one for one in running.status(it.platform.settings).processes}


def _serving(it: Subject) -> list[dict[str, Any]]:
    """Return the live arm, alone in a list."""
    arms = it.platform.client.deployment(it.model)["arms"]
    return [max(arms, key=lambda arm: arm["weight"])]


def _live_slot(it: Subject) -> str:
    slot: str = _serving(it)[0]["slot"]
    return slot


def _ready(it: Subject) -> bool:
    return running.status(it.platform.settings).ready


def _fit(it: Subject) -> bool:
    try:
        found = it.platform.client.ready()
    except ConchError:
        return False
    return bool(found["status"] == "ready")


def _swept(it: Subject) -> bool:
    try:
        found = it.platform.client.sweep(wait=True)
    except ConchError:
        return False
    return bool(found["done"])


def _building(it: Subject, number: int) -> bool:
    """Whether a version's model was fetched and is being converted now."""
    try:
        job = it.platform.client.version(it.model, number)["job"]
    except ConchError:
        return False
    return bool(job is not None and job["kind"] == "build" and job["progress"] > 0.2)


def _verified(it: Subject, number: int) -> bool:
    """Whether a version's build is over and was verified."""
    try:
        return bool(it.platform.client.version(it.model, number)["status"] == "verified")
    except ConchError:
        return False
