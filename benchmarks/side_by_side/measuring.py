"""The order of measurements: everything that is compared takes turns, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import cpu_time
from .figures import Run, compared
from .grpc_load import GrpcLoad, write_calls
from .http_load import HttpLoad, write_bodies
from .network import MODEL, Network
from .peers import Server
from .product import Product

MANY: Final = 64
_PACED_CONNECTIONS: Final = 16
_LONGEST_PAUSE_MS: Final = 28
"""Sixteen connections that wait 14 ms on average and are answered in about 2 ms: 1,000 a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How often everything takes its turn.
        seconds: Of each server's turn at each concurrency.
        paced_seconds: Of the turn at a fixed rate, from which Envoy's CPU time is taken.
    """

    rounds: int
    seconds: int
    paced_seconds: int


@dataclass(slots=True)
class Measured:
    """Every run, by what it was."""

    one: dict[str, list[Run]] = field(default_factory=dict)
    many: dict[str, list[Run]] = field(default_factory=dict)
    grpc_one: dict[str, list[Run]] = field(default_factory=dict)
    grpc_many: dict[str, list[Run]] = field(default_factory=dict)
    paced: list[Run] = field(default_factory=list)
    envoy_cpu_us: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return every figure under its key."""
        found = compared(
            self.one, self.many, self.grpc_one, self.grpc_many, envoy_cpu_us=self.envoy_cpu_us
        )
        rates = [round(run.rps, 1) for run in self.paced]
        return {**found, "paced_rps_all": rates, "failed": found["failed"] + _failed(self.paced)}


def measure(
    product: Product,
    peers: Sequence[Server],
    network: Network,
    plan: Plan,
    folder: Path,
    *,
    progress: Callable[[str], None],
) -> Measured:
    """Check every server's answers, then time them in turns."""
    direct = Server(name="direct", url=_url(product.direct_http), processes=(product.stable,))
    gateway = Server(
        name="gateway",
        url=_url(product.gateway),
        processes=(*product.servers, product.envoy),
    )
    servers = (direct, gateway, *peers)
    for server in servers:
        server.check(network)
    product.check_arms(network)
    bodies = {
        server.name: write_bodies(folder / f"{server.name}.txt", map(server.body, network.rows))
        for server in servers
    }
    calls = write_calls(folder / "calls.txt", network)
    found = Measured()
    for server in servers:  # nobody's first second counts
        HttpLoad(url=server.url, bodies=bodies[server.name], connections=MANY, seconds=1).run()
    for number in range(plan.rounds):
        progress(f"Round {number + 1} of {plan.rounds} ...")
        for connections, runs in ((1, found.one), (MANY, found.many)):
            for server in servers:
                load = HttpLoad(
                    url=server.url,
                    bodies=bodies[server.name],
                    connections=connections,
                    seconds=plan.seconds,
                )
                run = cpu_time.with_cpu(load.run, server.processes)
                runs.setdefault(server.name, []).append(run)
        _over_grpc(product, calls, plan, found, {"direct": direct, "gateway": gateway})
        _paced(product, gateway, bodies["gateway"], plan, found)
    if product.access_log.stat().st_size == 0:
        raise RuntimeError("The gateway wrote no access log, so its figures are of something else.")
    return found


def _over_grpc(
    product: Product, calls: Path, plan: Plan, found: Measured, servers: Mapping[str, Server]
) -> None:
    addresses = {"direct": product.direct_grpc, "gateway": product.gateway}
    for concurrency, processes, runs in ((1, 1, found.grpc_one), (MANY, 2, found.grpc_many)):
        for name, address in addresses.items():
            load = GrpcLoad(
                address=address,
                calls=calls,
                concurrency=concurrency,
                processes=processes,
                seconds=plan.seconds,
            )
            with load.started() as send:
                run = cpu_time.with_cpu(send, servers[name].processes)
            runs.setdefault(name, []).append(run)


def _paced(product: Product, gateway: Server, bodies: Path, plan: Plan, found: Measured) -> None:
    """Take Envoy's CPU time for one request at a rate that leaves the machine room."""
    load = HttpLoad(
        url=gateway.url,
        bodies=bodies,
        connections=_PACED_CONNECTIONS,
        seconds=plan.paced_seconds,
        longest_pause_ms=_LONGEST_PAUSE_MS,
    )
    before = cpu_time.process_s(product.envoy)
    run = load.run()
    used_s = cpu_time.process_s(product.envoy) - before
    found.paced.append(run)
    found.envoy_cpu_us.append(used_s / run.requests * 1e6)


def _url(address: str) -> str:
    return f"http://{address}/v2/models/{MODEL}/infer"


def _failed(runs: Sequence[Run]) -> int:
    return sum(run.failed for run in runs)
