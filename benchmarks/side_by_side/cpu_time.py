"""CPU time of the machine and of process trees around a measured run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace

import psutil

from .figures import Run


def with_cpu(run: Callable[[], Run], processes: Iterable[int]) -> Run:
    """Run a load and return it with the share of the machine and the servers' cores.

    Args:
        run: Sends the load.
        processes: Roots of the servers' process trees.
    """
    roots = tuple(processes)
    busy, idle, servers = *_machine_s(), tree_s(roots)
    found = run()
    busy_after, idle_after = _machine_s()
    total = (busy_after - busy) + (idle_after - idle)
    return replace(
        found,
        machine_cpu=(busy_after - busy) / total if total else 0.0,
        server_cores=(tree_s(roots) - servers) * (os.cpu_count() or 1) / total if total else 0.0,
    )


def process_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def tree_s(roots: Iterable[int]) -> float:
    """Return the CPU seconds of processes and all that they started and that still run."""
    found = 0.0
    for root in roots:
        for process in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
            try:
                found += process_s(process.pid)
            except psutil.NoSuchProcess:
                continue
    return found


def _machine_s() -> tuple[float, float]:
    """Return the machine's busy and idle core seconds since its start."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times)) - idle, float(idle)
