"""How long it takes: registration to first answer, promotion, rollback, and what callers feel.

One run on one machine: a platform of its own (MLflow, control plane, two Triton servers, Envoy) in
a temporary folder, a 16-64-4 network registered as MLflow's pytorch flavour (`model.pt2`).

    python benchmarks/swap.py [--quick] [--json]

Keys of the JSON object, which is the last line:

- `register_to_answer_s`: registration call returned -> first right answer through Envoy, with the
  sweep nudged; median over models registered one after the other.
- `promote_ms`, `rollback_ms`: call started -> last answer of the other version, under load; median.
- `failed`, `wrong`: requests without an answer, and answers other than those of the version that
  they name, over the whole run.
- `p99_ratio`: p99 latency in the second around a promotion over the p99 of steady load, at half of
  the rate that the same four connections reached unthrottled; median of the flips.
- `p99_load_ratio`: the same for the time in which the next version is loaded beside.
- `cold_start_s`: the whole platform but MLflow, from nothing running to ready.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conch.control import platform
from conch.control.client import Client
from conch.control.demo.load import Load
from conch.control.demo.registering import answers, register_network
from conch.control.keys import read_key
from conch.control.settings import MlflowSettings, Settings, read_settings

ROWS = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)


@dataclass(slots=True)
class Figures:
    """What was measured, in the units of the keys."""

    register_to_answer_s: list[float] = field(default_factory=list)
    promote_ms: list[float] = field(default_factory=list)
    rollback_ms: list[float] = field(default_factory=list)
    p99_ratio: list[float] = field(default_factory=list)
    p99_load_ratio: list[float] = field(default_factory=list)
    failed: int = 0
    wrong: int = 0
    cold_start_s: float = 0.0
    capacity_hz: float = 0.0
    steady_p99_ms: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object: medians of what was repeated."""
        value: dict[str, Any] = {}
        for name in self.__slots__:
            found = getattr(self, name)
            value[name] = round(statistics.median(found), 3) if isinstance(found, list) else found
        value["register_to_answer_s_all"] = [round(v, 3) for v in self.register_to_answer_s]
        value["p99_ratio_all"] = [round(v, 3) for v in self.p99_ratio]
        return value


def network(seed: int) -> Any:
    """Return a 16-64-4 perceptron with random weights."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).eval()


def register(module: Any, name: str, uri: str) -> int:
    """Log and register a network; return the version's number."""
    return register_network(module, name=name, tracking_uri=uri, rows=ROWS, experiment="Default")


def first_answer(client: Client, settings: Settings, name: str, expected: np.ndarray) -> float:
    """Nudge the sweep, ask until the model answers rightly, and return the moment it did."""
    import httpx

    client.sweep(wait=False)
    tensors: list[dict[str, Any]] = []
    with httpx.Client(base_url=settings.inference_url) as http:
        while True:
            metadata = http.get(f"/v2/models/{name}")
            if metadata.status_code == httpx.codes.OK:
                inputs = metadata.json()["inputs"]
                tensors = [
                    {
                        "name": inputs[0]["name"],
                        "datatype": "FP32",
                        "shape": [1, 16],
                        "data": ROWS[0].tolist(),
                    }
                ]
                reply = http.post(f"/v2/models/{name}/infer", json={"inputs": tensors})
                if reply.status_code == httpx.codes.OK:
                    found = np.array(reply.json()["outputs"][0]["data"], dtype=np.float32)
                    assert np.allclose(found, expected[0], atol=1e-4), "the first answer is wrong"
                    return time.perf_counter()
            time.sleep(0.005)


def measure_registration(
    client: Client, settings: Settings, figures: Figures, numbers: Iterable[int]
) -> None:
    """Register models one after the other, each until its first right answer."""
    for number in numbers:
        module = network(100 + number)
        expected = answers(module, ROWS)
        register(module, f"mlp-{number}", settings.mlflow_uri)
        start = time.perf_counter()
        figures.register_to_answer_s.append(
            first_answer(client, settings, f"mlp-{number}", expected) - start
        )


def load_on(
    client: Client,
    settings: Settings,
    expected: dict[int, np.ndarray],
    *,
    rate_hz: float | None,
) -> Load:
    """Return a load on the model of the flips, checked against both versions' answers."""
    signature = client.version("mlp-0", 1)["signature"]
    return Load(
        url=settings.inference_url,
        model="mlp-0",
        rows=ROWS,
        expected=expected,
        input_name=signature["inputs"][0]["name"],
        output_name=signature["outputs"][0]["name"],
        threads=4,
        rate_hz=rate_hz,
    )


def p99_ms(latencies: np.ndarray) -> float:
    """Return the 99th percentile of latencies in seconds, in milliseconds."""
    return float(np.percentile(latencies, 99) * 1000)


def measure_flips(client: Client, settings: Settings, figures: Figures, flips: int) -> None:
    """Promote and roll back under load, at half of what the generator reached unthrottled."""
    expected = {1: answers(network(100), ROWS)}
    with load_on(client, settings, expected, rate_hz=None) as full:
        start = time.perf_counter()
        time.sleep(2)
        figures.capacity_hz = full.tally.versions().total() / (time.perf_counter() - start)
    with load_on(client, settings, expected, rate_hz=figures.capacity_hz / 2) as load:
        time.sleep(2)
        module = network(7)
        number = register(module, "mlp-0", settings.mlflow_uri)
        client.sweep()
        client.wait_verified("mlp-0", number, timeout_s=60)
        second = int(client.version("mlp-0", number)["ordinal"])
        expected[second] = answers(module, ROWS)
        for _ in range(flips):
            steady_from = time.perf_counter()
            time.sleep(2)
            steady = p99_ms(load.tally.latencies_s(steady_from))
            figures.steady_p99_ms.append(steady)
            loading = time.perf_counter()
            client.start_release("mlp-0", number, note="benchmark")
            client.wait_release_running("mlp-0", timeout_s=60)
            loaded = time.perf_counter()
            if loaded - loading > 0.1:  # later rounds find it loaded
                during = load.tally.latencies_s(loading, loaded)
                figures.p99_load_ratio.append(p99_ms(during) / steady)
            time.sleep(0.5)
            flip = time.perf_counter()
            client.promote("mlp-0")
            time.sleep(0.6)
            figures.promote_ms.append(last_of(load, 1, flip))
            around = load.tally.latencies_s(flip - 0.5, flip + 0.5)
            figures.p99_ratio.append(p99_ms(around) / steady)
            flip = time.perf_counter()
            client.rollback("mlp-0", reason="benchmark")
            time.sleep(0.6)
            figures.rollback_ms.append(last_of(load, second, flip))
    figures.failed = len(load.tally.failed) + len(full.tally.failed)
    figures.wrong = len(load.tally.wrong) + len(full.tally.wrong)
    for problem in (load.tally.failed + load.tally.wrong)[:5]:
        print(problem)


def last_of(load: Load, version: int, since: float) -> float:
    """Return how long after a moment a version still answered, in milliseconds."""
    ends = [a.at for a in load.tally.answers if a.version == version and a.at >= since]
    return (max(ends, default=since) - since) * 1000


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    arguments = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="conch-swap-") as folder:
        own = platform.with_free_ports(
            read_settings(home=Path(folder), mlflow=MlflowSettings(sweep_s=30))
        )
        try:
            platform.up(own, on_progress=print)
            with Client(own.control_url, key=read_key(own.home)) as client:
                measure_registration(client, own, Figures(), [99])  # warms every cache once
                measure_registration(client, own, figures, range(3 if arguments.quick else 7))
                measure_flips(client, own, figures, 3 if arguments.quick else 5)
            platform.down(own)
            start = time.perf_counter()
            platform.up(own, mlflow=False)
            figures.cold_start_s = round(time.perf_counter() - start, 3)
        finally:
            platform.down(own)
    found = figures.as_dict()
    for key, value in found.items():
        print(f"{key:26} {value}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
