"""Callers in a process of their own, each request from somebody new, and what became of each."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from conch.core import TrafficSplit

_SPAWN: Final = multiprocessing.get_context("spawn")
_EVENTS_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What callers met.

    Attributes:
        answers: Requests by model and version.
        failures: `(model, version)` of each that failed; the version is 0 where none was named.
    """

    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    failures: list[tuple[str, int]] = field(default_factory=list)

    def failed_of(self, model: str, version: int) -> int:
        """Return how many requests to one version failed."""
        return self.failures.count((model, version))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked, and how.

    Attributes:
        inference_url: The gateway.
        models: One caller for each.
        marker: The first number of each row.
        factor: What the right answer is multiplied by.
        rate_hz: Requests per second of each caller at most.
        avoid: A split whose candidate callers keep away from...
        avoided: ...in this share of the cases.
        report_url: Where a metric event `wrong-label` goes for each wrong answer; None: nowhere.
        key: For it.
    """

    inference_url: str
    models: Sequence[str]
    marker: float
    factor: float
    rate_hz: float = 400.0
    avoid: TrafficSplit | None = None
    avoided: float = 0.0
    report_url: str | None = None
    key: str = ""


class Callers:
    """Ask for as long as the block lasts; `calls` is there afterwards.

    Args:
        asked: Who is asked, and how.
    """

    def __init__(self, asked: Asked) -> None:
        self._end: Any = _SPAWN.Event()
        self._results: Any = _SPAWN.Queue()
        self._process = _SPAWN.Process(target=_run, args=(asked, self._end, self._results))
        self.calls = Calls()

    def __enter__(self) -> Callers:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self.calls = self._results.get(timeout=60)
        self._process.join(timeout=30)
        assert self._process.exitcode == 0


def _run(asked: Asked, end: Any, results: Any) -> None:
    calls = Calls()
    threads = [
        threading.Thread(target=_ask, args=(asked, model, seed, end, calls))
        for seed, model in enumerate(asked.models)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(calls)


def _ask(asked: Asked, model: str, seed: int, end: Any, calls: Calls) -> None:
    generator = np.random.default_rng([seed, time.time_ns()])
    connection = http.client.HTTPConnection(urlsplit(asked.inference_url).netloc, timeout=30)
    wrong: list[dict[str, Any]] = []
    begun, asks = time.monotonic(), 0
    while not end.is_set():
        unit = generator.bytes(8).hex()
        if asked.avoid is not None and generator.random() < asked.avoided:
            arms = asked.avoid.arms
            if asked.avoid.arm_of(unit).build_id == arms[0].build_id:
                continue
        version, right = _one(connection, asked, model, unit, float(generator.random()))
        asks += 1
        if right is None:
            calls.failures.append((model, version))
            continue
        calls.answers[model, version] = calls.answers.get((model, version), 0) + 1
        if not right:
            wrong.append({"kind": "metric", "name": "wrong-label", "value": 1.0, "unit": unit})
        if asked.report_url and len(wrong) >= _EVENTS_AT_ONCE:
            _report(asked, wrong)
            wrong = []
        time.sleep(max(0.0, begun + asks / asked.rate_hz - time.monotonic()))
    connection.close()


def _one(
    connection: http.client.HTTPConnection, asked: Asked, model: str, unit: str, chance: float
) -> tuple[int, bool | None]:
    """Ask once; return the version, and whether it was right: None where there is no answer."""
    row = [asked.marker, chance, 1.0, 2.0]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": row}
    body = json.dumps({"inputs": [tensor]})
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body, {"x-conch-unit": unit})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, None
    version = int(answer.headers.get("x-conch-version", 0))
    if answer.status != http.client.OK:
        return version, None
    value = json.loads(text)["outputs"][0]["data"]
    return version, bool(np.allclose(value, np.array(row, np.float32) * asked.factor))


def _report(asked: Asked, events: Sequence[dict[str, Any]]) -> None:
    assert asked.report_url is not None
    connection = http.client.HTTPConnection(urlsplit(asked.report_url).netloc, timeout=30)
    lines = "".join(json.dumps(event) + "\n" for event in events)
    headers = {"content-type": "application/x-ndjson", "authorization": f"Bearer {asked.key}"}
    connection.request("POST", "/v1/events", lines, headers)
    assert connection.getresponse().status == http.client.OK
    connection.close()
