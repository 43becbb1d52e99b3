"""CPU time of the machine and of process trees around a measured run."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from dataclasses import replace

import psutil

from .figures import Run


def with_cpu(run: Callable[[], Run], processes: Iterable[int]) -> Run:
    """Run a load and return it with what the machine, the servers and others used.

    Args:
        run: Sends the load.
        processes: Roots of the servers' process trees.
    """
    roots = tuple(processes)
    (busy, idle), servers, generators = _machine_s(), tree_s(roots), _ended_children_s()
    found = run()
    busy_after, idle_after = _machine_s()
    busy_s, servers_s = busy_after - busy, tree_s(roots) - servers
    ours_s = servers_s + _ended_children_s() - generators
    total_s = busy_s + (idle_after - idle)
    cores = (os.cpu_count() or 1) / total_s
    return replace(
        found,
        machine_cpu=busy_s / total_s,
        server_cores=servers_s * cores,
        other_cores=max(busy_s - ours_s, 0.0) * cores,
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


def _ended_children_s() -> float:
    """Return the CPU seconds of this process's children that have ended, such as generators."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine_s() -> tuple[float, float]:
    """Return the machine's busy and idle core seconds since its start."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times)) - idle, float(idle)
