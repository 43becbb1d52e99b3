"""What capture and shadowing cost: throughput and p99 with capture off, at 10 %, at 100 %.

One run on one machine: Envoy, two Triton servers (a hand-made model of four numbers), the capture
process. The load is a process of its own: keep-alive HTTP connections without pause (saturated),
and at a fixed rate. The settings are interleaved, round after round, and each is held against
`off` of the same round, since machines change speed.

    python benchmarks/capture.py [--quick] [--json]

Keys of the JSON object, which is the last line, by setting (`off`, `capture-10`, `capture-100`,
`mirror-10`): `rps` and `p99_ms` saturated, `rate_p50_ms` and `rate_p99_ms` at the fixed rate
(medians of the rounds), `rps_ratio` and `p99_ratio` to `off` (medians of the rounds' ratios),
`failed` requests, and `stored`, captured requests as a share of what the setting asks for.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from capture_processes import CaptureProcess, capturing
from platform_fixtures import A, B, LocalPlatform, running_platform, split_of

from conch.core import BuildRef, Mirror
from conch.local import install

MODEL: Final = "captured"
CONNECTIONS: Final = 8
RATE_HZ: Final = 100.0
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}
BODY = json.dumps({"inputs": [TENSOR], "outputs": [{"name": "y"}]})


def load(port: int, seconds: float, rate_hz: float | None) -> dict[str, Any]:
    """Send requests over several connections; return how many failed, and latencies in ms."""
    latencies: list[float] = []
    failed = 0
    ends = time.perf_counter() + seconds
    pause_s = 0.0 if rate_hz is None else CONNECTIONS / rate_hz

    def work() -> None:
        nonlocal failed
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        due = time.perf_counter()
        while time.perf_counter() < ends:
            began = time.perf_counter()
            try:
                connection.request("POST", f"/v2/models/{MODEL}/infer", BODY)
                answer = connection.getresponse()
                answer.read()
                failed += answer.status != 200
                latencies.append((time.perf_counter() - began) * 1000)
            except (OSError, http.client.HTTPException):
                failed += 1
                connection.close()
            due += pause_s
            if pause_s:
                time.sleep(max(0.0, due - time.perf_counter()))

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(latencies)
    return {
        "requests": len(ordered),
        "failed": failed,
        "rps": len(ordered) / seconds,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
    }


def other_process(port: int, seconds: float, rate_hz: float | None) -> dict[str, Any]:
    """Run `load` in a process of its own."""
    argv = [sys.executable, "-P", __file__, "--load", str(port), str(seconds), str(rate_hz or 0)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(
    platform: LocalPlatform,
    capture: CaptureProcess,
    builds: tuple[BuildRef, BuildRef],
    *,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure each setting in every round."""
    settings: dict[str, tuple[int, Mirror | None]] = {
        "off": (0, None),
        "capture-10": (1000, None),
        "capture-100": (10_000, None),
        "mirror-10": (0, Mirror(slot=B, share=1000, release="benchmark")),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    for _ in range(rounds):
        for name, (captured, mirror) in settings.items():
            split = split_of(
                MODEL,
                ("b", builds[1], 0),
                ("a", builds[0], 10_000),
                captured=captured,
                mirror=mirror,
            )
            platform.target.set_routes([split])
            other_process(platform.port, 0.5, None)  # warm
            time.sleep(1.5)
            before = capture.status()["stored"]
            full = other_process(platform.port, seconds, None)
            steady = other_process(platform.port, seconds, RATE_HZ)
            time.sleep(3.0)
            stored = capture.status()["stored"] - before
            sides = 0.2 if mirror else captured / 10_000
            asked = (full["requests"] + steady["requests"]) * sides
            found[name].append(
                {
                    "rps": full["rps"],
                    "p99_ms": full["p99_ms"],
                    "rate_p50_ms": steady["p50_ms"],
                    "rate_p99_ms": steady["p99_ms"],
                    "failed": full["failed"] + steady["failed"],
                    "stored": stored / asked if asked else None,
                }
            )
    return {name: summarise(runs, found["off"]) for name, runs in found.items()}


def summarise(runs: list[dict[str, Any]], off: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians of a setting's rounds, and of its ratios to the same rounds without."""
    keys = ("rps", "p99_ms", "rate_p50_ms", "rate_p99_ms")
    value: dict[str, Any] = {
        key: round(statistics.median(run[key] for run in runs), 2) for key in keys
    }
    for key, name in (("rps", "rps_ratio"), ("p99_ms", "p99_ratio")):
        ratios = [run[key] / base[key] for run, base in zip(runs, off, strict=True)]
        value[name] = round(statistics.median(ratios), 2)
    shares = [run["stored"] for run in runs if run["stored"] is not None]
    value["stored"] = round(statistics.median(shares), 3) if shares else None
    value["failed"] = sum(run["failed"] for run in runs)
    return value


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--load", nargs=3, type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        port, seconds, rate_hz = arguments.load
        print(json.dumps(load(int(port), seconds, rate_hz or None)))
        return
    rounds, seconds = (2, 4.0) if arguments.quick else (5, 10.0)
    with tempfile.TemporaryDirectory(prefix="conch-capture-") as name:
        folder = Path(name)
        with running_platform(folder / "serving-home", install()) as platform:
            builds = platform.build(MODEL, 1), platform.build(MODEL, 2)
            for build, slot in zip(builds, (A, B), strict=True):
                platform.target.load(build, slot, timeout_s=120)
            with capturing(folder, platform) as capture:
                found = measure(platform, capture, builds, rounds=rounds, seconds=seconds)
    if not arguments.json:
        for setting, value in found.items():
            print(setting, *(f"{key}={item}" for key, item in value.items()), sep="  ")
    print(json.dumps({"quick": arguments.quick, **found}))


if __name__ == "__main__":
    main()
