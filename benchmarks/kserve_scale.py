"""Many InferenceServices owned by one KServe target: memory, settling, idle cost, a change.

    python -P benchmarks/kserve_scale.py [--quick] [--json] [--services N]

On a real kube-apiserver (`make apiserver`) with the tests' stand-in for controllers. Measured are:

- memory: this process' resident bytes with everything followed, less those before;
- settle: from starting a new target on what is there until it has seen everything;
- idle: requests and CPU seconds per minute while nothing changes;
- change: from asking for other weights until the (stand-in) gateway acknowledged them.

The stand-in runs in this process: its own watches are part of the idle CPU time and not of the
requests. `--json` prints one object as the last line.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from kserve_clusters import STRATEGIES, A, B, build, divided, playing
from kube_apiserver import ADMIN, Etcd, keeping, require_programs
from kube_clients import write_kubeconfig

from conch.kserve import Traffic
from conch.kserve.cluster import Connection, KubernetesCluster
from conch.kserve.serving.operating import Blueprint
from conch.kserve.serving.storing import FolderStore
from conch.kserve.serving.target import KServeTarget

MOST_AT_ONCE = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 services, 5 s of idleness")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--services", type=int, default=300)
    options = parser.parse_args()
    services = 10 if options.quick else options.services
    idle_s = 5.0 if options.quick else 60.0
    found = measure(services, idle_s=idle_s)
    for name, value in found.items():
        print(f"{name:32} {value}")
    if options.json:
        print(json.dumps(found))


def measure(services: int, *, idle_s: float) -> dict[str, Any]:
    """Run everything on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="conch-scale-") as name:
        folder = Path(name)
        etcd = Etcd(folder / "etcd", require_programs().etcd)
        try:
            etcd.start()
            with keeping(folder / "apiserver", etcd.url) as server:
                config = write_kubeconfig(
                    folder / "config", url=server.url, ca=server.ca, token=ADMIN
                )
                return _measure(server.namespace("scale"), config, folder, services, idle_s)
        finally:
            etcd.stop()


def _measure(
    namespace: str, config: Path, folder: Path, services: int, idle_s: float
) -> dict[str, Any]:
    clients: list[KubernetesCluster] = []

    def connect(**given: Any) -> KubernetesCluster:
        client = KubernetesCluster(Connection(kubeconfig=config, timeout_s=60), **given)
        clients.append(client)
        return client

    def target() -> KServeTarget:
        return KServeTarget(
            connect=connect,
            namespace=namespace,
            blueprint=Blueprint(profile=STRATEGIES[Traffic.SLOTS]),
            store=FolderStore(folder=folder / "store", uri="pvc://models"),
        )

    models = services // 2  # each has two slots
    with playing(connect, namespace, seed=1):
        with target() as first, ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            began = time.perf_counter()
            list(pool.map(lambda number: _serve(first, folder, number), range(models)))
            created_s = time.perf_counter() - began
        gc.collect()
        process = psutil.Process()
        before = process.memory_info().rss
        began = time.perf_counter()
        with target() as again:
            state = again.observe()
            settle_s = time.perf_counter() - began
            memory = process.memory_info().rss - before
            assert len(state.routes) == models
            client = clients[-1]
            asked, spent = sum(client.requests.values()), time.process_time()
            time.sleep(idle_s)
            again.observe()
            minutes = idle_s / 60
            idle_requests = (sum(client.requests.values()) - asked) / minutes
            idle_cpu_s = (time.process_time() - spent) / minutes
            changes = [_change(again, folder, number) for number in range(min(models, 20))]
    return {
        "services": models * 2,
        "created_s": round(created_s, 1),
        "memory_bytes": memory,
        "settle_s": round(settle_s, 3),
        "idle_requests_per_minute": round(idle_requests, 2),
        "idle_cpu_s_per_minute": round(idle_cpu_s, 3),
        "change_acknowledged_median_s": round(statistics.median(changes), 3),
        "change_acknowledged_most_s": round(max(changes), 3),
    }


def _serve(target: KServeTarget, folder: Path, number: int) -> None:
    one, two = (build(folder, ordinal, model=f"m{number}") for ordinal in (1, 2))
    target.load(one, A, timeout_s=300)
    target.set_routes([divided((one, A, 100))])
    target.load(two, B, timeout_s=300)


def _change(target: KServeTarget, folder: Path, number: int) -> float:
    one, two = (build(folder, ordinal, model=f"m{number}") for ordinal in (1, 2))
    began = time.perf_counter()
    target.set_routes([divided((two, B, 10), (one, A, 90))])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
