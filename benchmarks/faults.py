"""What each fault costs: seconds until it is over, and failed and wrong requests meanwhile.

One run on one machine: a platform of its own (MLflow, control plane, two Triton servers in each of
two slots, Envoy) in a temporary folder, a 16-32-4 network, 60 requests per second over two HTTP
connections and one gRPC connection, every answer checked. The faults are those of
`tests/support/inflicting.py`, which the fault tests inflict as well.

    python benchmarks/faults.py [--quick] [--json]

Keys of the JSON object, which is the last line, each an object by fault: `recovery_s` (median of
the repetitions), of that `conch_s` (until the fault was noticed and what died was started again;
the rest is what the new process takes to start, imports of MLflow or torch for the most part, and
the build itself), `failed` and `wrong` (sums). And `answers`, the right answers altogether.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from inflicting import FAULTS, Recovery, Subject, subject, watched
from whole_platform import running_whole_platform

from conch.control.settings import ReleaseSettings, ServingSettings


def measure(it: Subject, *, repetitions: int) -> dict[str, Any]:
    """Inflict every fault so many times, each under a load of its own."""
    took: dict[str, list[Recovery]] = defaultdict(list)
    failed: dict[str, int] = dict.fromkeys(FAULTS, 0)
    wrong: dict[str, int] = dict.fromkeys(FAULTS, 0)
    answers = 0
    for _ in range(repetitions):
        for name, inflict in FAULTS.items():
            with watched(it.load()) as load:
                took[name].append(inflict(it))
            failed[name] += len(load.tally.failed)
            wrong[name] += len(load.tally.wrong)
            answers += len(load.tally.answers)
    return {
        "recovery_s": _medians(took, lambda one: one.total_s),
        "conch_s": _medians(took, lambda one: one.conch_s),
        "failed": failed,
        "wrong": wrong,
        "answers": answers,
    }


def _medians(
    took: dict[str, list[Recovery]], part: Callable[[Recovery], float]
) -> dict[str, float]:
    return {name: round(statistics.median(map(part, found)), 2) for name, found in took.items()}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each fault once instead of 5 times")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    arguments = parser.parse_args()
    given = {"serving": ServingSettings(replicas=2), "release": ReleaseSettings(bake_s=1)}
    with running_whole_platform(**given) as platform:
        found = measure(subject(platform, "hurt", seed=11), repetitions=1 if arguments.quick else 5)
    print(f"{'kill -9 of':24} {'over after':>12} {'by conch':>12} {'failed':>8} {'wrong':>8}")
    for name in FAULTS:
        took = f"{found['recovery_s'][name]:.2f} s"
        own = f"{found['conch_s'][name]:.2f} s"
        bad = f"{found['failed'][name]:8} {found['wrong'][name]:8}"
        print(f"{name:24} {took:>12} {own:>12} {bad}")
    print(f"{found['answers']} right answers")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
