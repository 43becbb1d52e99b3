"""A platform at work for a long time: does everything answer, and does nothing grow?

One run on one machine: a platform of its own (MLflow, control plane, two Triton servers in each of
two slots, Envoy) in a temporary folder; a 16-32-4 network is asked over HTTP and gRPC at a moderate
rate, every answer checked. Every minute the version that is not live is loaded and released (half
of the users, then all of them), and every two minutes one server of the live slot is killed
(`kill -9`), after the live version has baked for its ten seconds.

    python benchmarks/soak.py [--quick] [--json]

30 minutes; 3 with `--quick`. Keys of the JSON object, which is the last line:

- `availability`: right answers over requests; `failed` and `wrong`: how many were not.
- `rss_growth`: by process, resident memory at the end over that after the first release, less 1.
  Memory of a server that was killed meanwhile is that of its successor.
- `fd_growth`: by process, open files at the end less those after the first release.
- `db_bytes`: size of the control database at the end, with its write-ahead log.
- `releases`, `kills`, `answers`: how much was done.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import psutil
from inflicting import ROWS, Subject, kill_one_server, subject, wait_baked
from whole_platform import answers, perceptron, register, running_whole_platform

from conch import local
from conch.control import platform as running
from conch.control.settings import ReleaseSettings, ServingSettings

RATE_HZ: Final = 60
_RELEASE_EVERY_S: Final = 60.0
_KILL_EVERY_S: Final = 120.0
_HALF_WAY_S: Final = 10.0
_BAKE_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process of the platform takes, with everything that it started.

    Attributes:
        rss_bytes: Resident memory; pages that processes share count for each of them.
        files: Open file descriptors.
    """

    rss_bytes: int
    files: int


def usage(it: Subject) -> dict[str, Usage]:
    """Return what each supervised process takes, and the supervisor itself."""
    settings = it.platform.settings
    pids = {one.name: one.pid for one in running.status(settings).processes}
    found = {}
    for name, pid in pids.items():
        if pid is not None:
            top = psutil.Process(pid)
            found[name] = _sum([top, *top.children(recursive=True)])
    supervisor = local.running(running.serving_home(settings))
    assert supervisor is not None
    found["supervisor"] = _sum([psutil.Process(supervisor)])  # what it started counts by itself
    return found


def _sum(processes: list[psutil.Process]) -> Usage:
    memory = files = 0
    for process in processes:
        try:
            memory += process.memory_info().rss
            files += process.num_fds()
        except psutil.NoSuchProcess:
            continue
    return Usage(rss_bytes=memory, files=files)


def second_version(it: Subject) -> tuple[int, int]:
    """Register a second version of the model; return both numbers."""
    network, client = perceptron(12), it.platform.client
    number = register(network, it.model, it.platform.settings.mlflow_uri, rows=ROWS)
    client.sweep()
    ordinal = int(client.wait_verified(it.model, number, timeout_s=120)["ordinal"])
    it.expected[ordinal] = answers(network, ROWS)
    return number - 1, number


def release(it: Subject, number: int, stop: threading.Event) -> None:
    """Release a version: half of the users, a while later all of them."""
    client = it.platform.client
    client.start_release(it.model, number, weight=50, note="the soak")
    client.wait_release_running(it.model, timeout_s=120)
    stop.wait(_HALF_WAY_S)
    client.promote(it.model)


def soak(it: Subject, *, duration_s: float) -> dict[str, Any]:
    """Work for so long; return the figures."""
    never = threading.Event()
    first, second = second_version(it)
    releases = kills = 0
    with it.load(rate_hz=RATE_HZ) as load:
        release(it, second, never)
        release(it, first, never)
        never.wait(10)
        before = usage(it)
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < duration_s:
            if now >= (releases + 1) * _RELEASE_EVERY_S:
                release(it, (second, first)[releases % 2], never)
                releases += 1
            elif now >= (kills + 0.75) * _KILL_EVERY_S:
                wait_baked(it)
                kill_one_server(it)
                kills += 1
            never.wait(0.5)
            if len(load.tally.failed) + len(load.tally.wrong) > 1000:
                break
        after = usage(it)
    tally = load.tally
    bad = len(tally.failed) + len(tally.wrong)
    home = it.platform.settings.home
    for problem in (tally.failed + tally.wrong)[:5]:
        print(problem)
    for name in sorted(before):
        print(f"{name:16} {_told(before[name])} -> {_told(after[name])}")
    return {
        "availability": round(len(tally.answers) / (len(tally.answers) + bad), 6),
        "failed": len(tally.failed),
        "wrong": len(tally.wrong),
        "rss_growth": {
            name: round(after[name].rss_bytes / before[name].rss_bytes - 1, 3) for name in before
        },
        "fd_growth": {name: after[name].files - before[name].files for name in before},
        "db_bytes": sum(path.stat().st_size for path in home.glob("conch.db*")),
        "releases": releases,
        "kills": kills,
        "answers": len(tally.answers),
    }


def _told(used: Usage) -> str:
    return f"{used.rss_bytes / 2**20:8.1f} MiB {used.files:5} files"


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 minutes instead of 30")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    arguments = parser.parse_args()
    given = {"serving": ServingSettings(replicas=2), "release": ReleaseSettings(bake_s=_BAKE_S)}
    with running_whole_platform(**given) as platform:
        found = soak(
            subject(platform, "soaked", seed=11), duration_s=180 if arguments.quick else 1800
        )
    for key, value in found.items():
        print(f"{key:14} {value}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
