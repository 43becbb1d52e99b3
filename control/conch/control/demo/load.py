"""Continuous requests whose every answer is checked against the version that it names."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import numpy as np

from conch.core import UNIT_HEADER

TOLERANCE: Final = 1e-3
"""Largest absolute difference of a logit that counts as the same answer: versions differ by far
more, runtimes by far less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered request: when it ended, how long it took (s), and which version it names."""

    at: float
    took_s: float
    version: int


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a load saw; written by its threads, read by anybody.

    Attributes:
        answers: Every right answer.
        failed: Requests that got no answer or an error, with the reason.
        wrong: Answers that differ from what the version that they name answers.
    """

    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def versions(self, since: float = 0.0) -> Counter[int]:
        """Count the answers by version, from a moment of `time.perf_counter` on."""
        return Counter(answer.version for answer in self.answers if answer.at >= since)

    def latencies_s(self, start: float = 0.0, end: float = float("inf")) -> np.ndarray:
        """Return the latencies (s) of answers that ended between two moments."""
        return np.array([a.took_s for a in self.answers if start <= a.at < end])


class Load:
    """Threads that ask one model over HTTP or gRPC until they are stopped.

    Args:
        url: The inference entry, such as `http://127.0.0.1:8080`.
        model: The model on the wire.
        rows: float32[m, ...], sent one at a time.
        expected: For each version (Triton's number) what it answers on `rows`: float32[m, k].
            May gain versions while the load runs.
        threads: Connections over HTTP.
        grpc_threads: Connections over gRPC.
        rate_hz: Requests per second over all threads together; None for as fast as they can.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        rows: np.ndarray,
        expected: Mapping[int, np.ndarray],
        input_name: str,
        output_name: str,
        threads: int = 4,
        grpc_threads: int = 0,
        rate_hz: float | None = None,
    ) -> None:
        self.tally = Tally()
        self._address = urlsplit(url).netloc
        self._model = model
        self._rows = rows
        self._expected = expected
        self._input = input_name
        self._output = output_name
        self._stop = threading.Event()
        count = threads + grpc_threads
        self._pause_s = None if rate_hz is None else count / rate_hz
        asks = [self._ask_http] * threads + [self._ask_grpc] * grpc_threads
        self._threads = [
            threading.Thread(target=ask, args=(number,), daemon=True)
            for number, ask in enumerate(asks)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask_http(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        bodies = [self._body(row) for row in self._rows]
        path = f"/v2/models/{self._model}/infer"

        def ask(index: int, unit: str) -> tuple[int, np.ndarray]:
            headers = {"content-type": "application/json", UNIT_HEADER: unit}
            try:
                connection.request("POST", path, bodies[index], headers)
                response = connection.getresponse()
                text = response.read()
            except Exception:
                connection.close()  # the next request opens it again
                raise
            if response.status != http.client.OK:
                raise RuntimeError(f"HTTP {response.status}: {text[:200]!r}")
            answer = json.loads(text)
            output = next(o for o in answer["outputs"] if o["name"] == self._output)
            return int(answer["model_version"]), np.asarray(output["data"], dtype=np.float32)

        self._keep_asking(number, ask)
        connection.close()

    def _ask_grpc(self, number: int) -> None:
        from tritonclient import grpc

        client = grpc.InferenceServerClient(self._address)

        def ask(index: int, unit: str) -> tuple[int, np.ndarray]:
            row = self._rows[index : index + 1]
            tensor = grpc.InferInput(self._input, list(row.shape), "FP32")
            tensor.set_data_from_numpy(row)
            result = client.infer(self._model, [tensor], headers={UNIT_HEADER: unit}, timeout=30)
            version = int(result.get_response().model_version)
            return version, np.ravel(result.as_numpy(self._output))

        self._keep_asking(number, ask)
        client.close()

    def _body(self, row: np.ndarray) -> bytes:
        tensor = {
            "name": self._input,
            "datatype": "FP32",
            "shape": [1, *row.shape],
            "data": row.ravel().tolist(),
        }
        return json.dumps({"inputs": [tensor]}).encode()

    def _keep_asking(self, number: int, ask: Any) -> None:
        index, due = number, time.perf_counter()
        while not self._stop.is_set():
            if self._pause_s is not None:
                due += self._pause_s
                self._stop.wait(max(0.0, due - time.perf_counter()))
            index += 1
            row = index % len(self._rows)
            start = time.perf_counter()
            try:
                version, found = ask(row, f"user-{number}-{index}")
            except Exception as error:
                self.tally.failed.append(repr(error))
                continue
            end = time.perf_counter()
            expected = self._expected.get(version)
            if expected is None or not np.allclose(found, expected[row], atol=TOLERANCE):
                self.tally.wrong.append(f"version {version}, row {row}: {found}")
                continue
            self.tally.answers.append(Answer(at=end, took_s=end - start, version=version))
