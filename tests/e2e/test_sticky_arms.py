"""Five thousand people over HTTP and gRPC: each meets the version that was computed for them.

And nobody leaves the candidate while its share grows, although Envoy and the control plane are
killed in between. What the event log says of it is what the callers saw.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from inflicting import until
from whole_platform import Platform, fresh, perceptron, register

from conch import local
from conch.control import platform as running
from conch.core import ConchError, TrafficSplit, TritonName
from conch.events import Exposure, LogReader, hash_unit

pytestmark = pytest.mark.real

UNITS: Final = tuple(f"person-{number}" for number in range(5000))
WEIGHTS: Final = (5, 20, 50)
ROWS = np.random.default_rng(3).standard_normal((8, 16)).astype(np.float32)


@pytest.mark.timeout(900)  # 30,000 requests
def test_everybody_meets_their_version(whole_platform: Platform) -> None:
    """At 5, 20 and 50 %, over restarts: arm seen = arm computed, and none leaves the candidate."""
    client, settings = whole_platform.client, whole_platform.settings
    model = fresh("sticky")
    register(perceptron(1), model, settings.mlflow_uri, rows=ROWS)
    client.sweep()
    client.wait_live(model, timeout_s=120)
    register(perceptron(2), model, settings.mlflow_uri, rows=ROWS)
    client.sweep()
    client.wait_verified(model, 2, timeout_s=120)
    client.start_release(model, 2)
    client.wait_release_running(model, timeout_s=120)
    inside: set[str] = set()
    since = 0.0
    for weight, victim in zip(WEIGHTS, ("envoy", "control", ""), strict=True):
        client.set_weight(model, weight)
        split = _split(whole_platform, model)
        for seen in (_over_http(whole_platform, model), _over_grpc(whole_platform, model)):
            computed = {unit: split.arm_of(unit).ordinal for unit in UNITS}
            assert seen == computed
            now = {unit for unit, ordinal in seen.items() if ordinal == 2}
            assert inside <= now
            inside = now
        if victim:
            _kill(whole_platform, victim)
            since = time.time()
    client.rollback(model, reason="the test is over")
    _check_log(whole_platform, model, last=_computed_units(split), since=since)


def _computed_units(split: TrafficSplit) -> dict[str, int]:
    return {hash_unit(unit): int(split.arm_of(unit).ordinal) for unit in UNITS}


def _check_log(platform: Platform, model: str, *, last: dict[str, int], since: float) -> None:
    """Every request since the last kill is in the event log once, under the arm that answered it.

    No request is there twice. Of those before, a killed Envoy takes along what it had not written.
    """
    folder = platform.settings.home / "events" / "log"

    def logged() -> list[Exposure]:
        reader, found, at = LogReader(folder), [], 0
        while stored := reader.read(at, limit=10_000):
            found += [one.event for one in stored if isinstance(one.event, Exposure)]
            at = stored[-1].offset + 1
        return [one for one in found if one.model == model and one.unit_hash in last]

    def recent() -> list[Exposure]:
        return [one for one in logged() if one.occurred_at > since]

    until(lambda: len(recent()) >= 2 * len(UNITS), timeout_s=60)
    exposures = logged()
    assert len({one.request_id for one in exposures}) == len(exposures)
    found = recent()
    assert len(found) == 2 * len(UNITS)
    assert all(one.ordinal == last[one.unit_hash] for one in found)


def _split(platform: Platform, model: str) -> TrafficSplit:
    """Return the table in force, as the data plane acknowledged it."""
    gateway = local.LocalTarget(
        running.serving_home(platform.settings),
        runtime=local.require(),
        settings=running.local_settings(platform.settings),
    )
    return gateway.observe().routes[TritonName(model)]


def _over_http(platform: Platform, model: str) -> dict[str, int]:
    """Ask once for every unit; return the version that the gateway named."""
    version = platform.client.version(model, 1)
    tensor = {
        "name": version["signature"]["inputs"][0]["name"],
        "datatype": "FP32",
        "shape": [1, 16],
        "data": ROWS[0].tolist(),
    }
    body = json.dumps({"inputs": [tensor]})
    address = urlsplit(platform.settings.inference_url).netloc

    def ask(units: tuple[str, ...]) -> dict[str, int]:
        connection, found = http.client.HTTPConnection(address, timeout=30), {}
        for unit in units:
            connection.request("POST", f"/v2/models/{model}/infer", body, {"x-conch-unit": unit})
            answer = connection.getresponse()
            value = json.loads(answer.read())
            assert value["model_version"] == answer.headers["x-conch-version"]
            found[unit] = int(value["model_version"])
        connection.close()
        return found

    return _merged(ask)


def _over_grpc(platform: Platform, model: str) -> dict[str, int]:
    """Ask once for every unit; return the version that the server named."""
    name = platform.client.version(model, 1)["signature"]["inputs"][0]["name"]
    tensor = grpc_client.InferInput(name, [1, 16], "FP32")
    tensor.set_data_from_numpy(ROWS[:1])
    address = urlsplit(platform.settings.inference_url).netloc

    def ask(units: tuple[str, ...]) -> dict[str, int]:
        with grpc_client.InferenceServerClient(address) as client:
            return {
                unit: int(
                    client.infer(model, [tensor], headers={"x-conch-unit": unit})
                    .get_response()
                    .model_version
                )
                for unit in units
            }

    return _merged(ask)


def _merged(ask: object) -> dict[str, int]:
    assert callable(ask)
    shares = [UNITS[number::4] for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        return {unit: seen for part in pool.map(ask, shares) for unit, seen in part.items()}


def _kill(platform: Platform, name: str) -> None:
    """End a process with `kill -9` and wait until everything is ready again."""

    def seen() -> tuple[int | None, bool]:
        """Return the process's number, and whether everything is ready: of one look, not two."""
        status = running.status(platform.settings)
        return next(one.pid for one in status.processes if one.name == name), status.ready

    before, _ = seen()
    assert before is not None
    os.kill(before, signal.SIGKILL)

    def over() -> bool:
        pid, ready = seen()
        try:
            return pid not in (None, before) and ready and bool(platform.client.status())
        except ConchError:
            return False

    until(over, timeout_s=60)
