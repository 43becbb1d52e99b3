"""What a small arm's latency is worth: identical versions, compared at unequal and equal shares.

One platform with three slots and a 16-64-4 network that is registered twice, so that every
difference between the arms is one of the comparison. It batches dynamically: a batch leaves when it
is full (8 rows) or after 5 ms. The candidate has 5 % of the requests; it is compared with the rest
(95 %), and with a baseline arm of the live version that has 5 % as well.

    python benchmarks/baseline.py [--quick] [--json]

Needs wrk. Keys of the JSON object, which is the last line; latencies are those of the gateway's
access log, and ratios are candidate over control, medians over the rounds:

- `rest_p50_ratio`, `rest_p90_ratio`: compared with the rest.
- `equal_p50_ratio`, `equal_p90_ratio`: compared with an arm of equal share.
- `rest_slow_ratio`, `equal_slow_ratio`: share of the candidate's requests above the control's 90th
  percentile, over 10 %; what a guardrail on slow answers sees.
- `requests`: how many there were.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import mlflow
import numpy as np
from side_by_side.http_load import HttpLoad
from swap import ROWS, network, register

from conch import local
from conch.control import platform
from conch.control.client import Client
from conch.control.keys import read_key
from conch.control.settings import MlflowSettings, ServingSettings, Settings, read_settings
from conch.events.access_lines import read_line

MODEL: Final = "mlp"
WEIGHT: Final = 5
TAGS: Final = {"triton.queue_delay_us": "5000", "triton.preferred_batch_sizes": "8"}
"""Batches leave full, or after 5 ms: what an arm with little traffic waits for."""
_WRITTEN_S: Final = 1.5
"""After so long the gateway has written every line: it flushes each half second."""


def bodies(folder: Path, tensor: str) -> Path:
    """Write one request body a line."""
    path = folder / "bodies.jsonl"
    lines = [
        json.dumps(
            {"inputs": [{"name": tensor, "datatype": "FP32", "shape": [1, 16], "data": row}]}
        )
        for row in ROWS.tolist()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def latencies_ms(access_log: Path, release: str) -> dict[str, np.ndarray]:
    """Return the latencies of a release's requests by slot, from the gateway's own log."""
    found: dict[str, list[float]] = defaultdict(list)
    for path in sorted(access_log.parent.glob(f"{access_log.name}*")):
        for line in path.read_bytes().splitlines():
            exposure = read_line(line, received_at=0.0)
            if exposure is not None and exposure.release == release and exposure.latency_ms:
                found[str(exposure.slot)].append(exposure.latency_ms)
    return {slot: np.array(values) for slot, values in found.items()}


def compared(client: Client, settings: Settings, load: HttpLoad, *, equal: bool) -> dict[str, Any]:
    """Run a release at 5 % under load; return candidate over control."""
    changes = {"steps": [WEIGHT], "step_minimum_s": 3600, "equal_baseline": equal}
    release = client.start_release(MODEL, 2, plan="canary", changes=changes, note="benchmark")
    client.wait_release_running(MODEL, timeout_s=60)
    load.run()
    time.sleep(_WRITTEN_S)
    client.abort(MODEL, reason="benchmark")
    by_slot = latencies_ms(local.Home(platform.serving_home(settings)).access_log, release["id"])
    live = str(client.version(MODEL, 1)["slot"])
    other = next(iter(set(by_slot) - {"b", live})) if equal else live
    candidate, control = by_slot["b"], by_slot[other]
    limit = float(np.percentile(control, 90))
    return {
        "p50": float(np.median(candidate) / np.median(control)),
        "p90": float(np.percentile(candidate, 90) / limit),
        "slow": float((candidate > limit).mean() / 0.1),
        "requests": int(sum(len(values) for values in by_slot.values())),
    }


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    arguments = parser.parse_args()
    rounds, seconds = (2, 6.0) if arguments.quick else (5, 15.0)
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="conch-base-") as folder:
        own = platform.with_free_ports(
            read_settings(
                home=Path(folder),
                mlflow=MlflowSettings(sweep_s=30),
                serving=ServingSettings(slots=("a", "b", "c")),
            )
        )
        try:
            platform.up(own, on_progress=print)
            with Client(own.control_url, key=read_key(own.home)) as client:
                registry = mlflow.MlflowClient(own.mlflow_uri)
                registry.create_registered_model(MODEL, tags=TAGS)
                for _ in range(2):
                    number = register(network(1), MODEL, own.mlflow_uri)
                    client.sweep()
                    client.wait_verified(MODEL, number, timeout_s=120)
                client.wait_live(MODEL, 1, timeout_s=60)
                tensor = client.version(MODEL, 1)["signature"]["inputs"][0]["name"]
                load = HttpLoad(
                    url=f"{own.inference_url}/v2/models/{MODEL}/infer",
                    bodies=bodies(Path(folder), tensor),
                    connections=16,
                    seconds=seconds,
                )
                for number in range(rounds):
                    for equal in (False, True) if number % 2 else (True, False):
                        one = compared(client, own, load, equal=equal)
                        print("equal" if equal else "rest ", one)
                        found[equal].append(one)
        finally:
            platform.down(own)
    value: dict[str, Any] = {
        f"{name}_{key}_ratio": round(statistics.median(one[key] for one in found[equal]), 3)
        for equal, name in ((False, "rest"), (True, "equal"))
        for key in ("p50", "p90", "slow")
    }
    value["requests"] = sum(one["requests"] for rounds_ in found.values() for one in rounds_)
    for key, number in value.items():
        print(f"{key:20} {number}")
    if arguments.json:
        print(json.dumps(value))


if __name__ == "__main__":
    main()
