"""What the gateway costs, and what Python servers do with the same model, in one run.

A 16-64-4 ONNX network behind, side by side on this machine: Triton itself; conch's own local
target (Envoy with salted sticky weights over two slots, 90 to 10, and its JSON access log, before
Triton servers); and the servers of KServe's Python SDK, MLServer, BentoML and FastAPI, each in an
environment of its own that the first run installs into the user's cache. Every server must answer
256 rows as the model does before anything is timed. Then all take turns, round after round, and
medians over the rounds are printed. HTTP load is wrk's, gRPC load the C core's.

    python benchmarks/gateway.py [--quick] [--json] [--peers kserve,mlserver,...]

Keys of the JSON object, which is the last line:

- `direct_rps`, `gateway_rps`, `ratio`: HTTP answers a second at 64 connections; gateway / direct.
- `added_p50_ms`: what the gateway adds to the median latency of one connection.
- `envoy_cpu_us`: CPU time of Envoy for one request at about 1,000 requests a second.
- `times_best_peer`: `gateway_rps` over that of the fastest Python server.
- `gateway_mean_ms`, `gateway_p95_ms`, `gateway_p99_ms`, `gateway_cpu`: at 64 connections; the last
  is the share of the machine in use, 0 to 1, the load generator included.
- `direct`, `gateway`, `peers`, `grpc`: each server's figures at 64 connections and at one.
- `goals`: which are met. `failed`: answers that were errors or wrong, over the whole run.
- `other_cores`: cores that anything else used meanwhile, the larger of the medians of `direct` and
  `gateway` at 64 connections. Above a few tenths, rates and `ratio` are of that other work too.
- `void`: direct Triton answered fewer than 6,000 requests a second, so the machine was busy with
  something else and the run says nothing. The exit status is 2 then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from side_by_side import peers, product
from side_by_side.figures import table, verdicts
from side_by_side.measuring import Plan, measure
from side_by_side.network import make_network
from side_by_side.peers import PEERS, Peer

QUICK = Plan(rounds=3, seconds=2, paced_seconds=4)
FULL = Plan(rounds=5, seconds=5, paced_seconds=10)


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 s, not 5 of 5 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", default=",".join(names), help="which; an empty text for none")
    given = parser.parse_args()
    wanted = [name for name in given.peers.split(",") if name]
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"unknown peers: {', '.join(unknown)}")
    chosen = [peer for peer in PEERS if peer.name in wanted]
    for peer in chosen:
        peer.environment.install(progress=print)
    figures = compare(chosen, QUICK if given.quick else FULL)
    print()
    for peer in chosen:
        print(f"{peer.name:16}{peer.requirements[0]}: {peer.set_up}")
    print(table(figures))
    print(f"failed: {figures['failed']}; load average before: {figures['load_average']}")
    if given.json:
        print(json.dumps(figures))
    return 2 if figures["void"] else 0


def compare(chosen: list[Peer], plan: Plan) -> dict[str, Any]:
    """Start everything, measure, stop everything; return the figures."""
    load_average = [round(value, 2) for value in os.getloadavg()]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conch-gateway-") as name, ExitStack() as stack:
        folder = Path(name)
        network = make_network(folder)
        own = stack.enter_context(product.running(network, folder, progress=print))
        servers = []
        for peer in chosen:
            print(f"Starting {peer.name} ...")
            servers.append(stack.enter_context(peers.running(peer, network, folder / peer.name)))
        figures = measure(own, servers, network, plan, folder, progress=print).figures()
    return {
        **figures,
        "goals": verdicts(figures),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "load_average": load_average,
        "took_s": round(time.monotonic() - begun, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
