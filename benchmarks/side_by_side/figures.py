"""What the benchmark says, as pure functions of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

QUIET_RPS: Final = 6000.0
"""Fewer direct requests a second at 64 connections mean that the machine was busy otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One server under one load for some seconds.

    Attributes:
        requests: Answers received.
        seconds: How long that took.
        failed: Answers other than 200 or `OK`, wrong numbers, and broken connections.
        mean_ms, p50_ms, p95_ms, p99_ms: Latency as the caller sees it.
        machine_cpu: Share of all cores that was busy, 0 to 1, the load generator included.
        server_cores: Cores that the server's processes used (for the gateway: Envoy and Triton).
        other_cores: Cores used by anything but them and the load generator: disturbance.
    """

    requests: int
    seconds: float
    failed: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    machine_cpu: float = 0.0
    server_cores: float = 0.0
    other_cores: float = 0.0

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should be.

    Attributes:
        figure: Its key.
        limit: The value that it must not miss.
        aim: The value that would be better; equal to `limit` where there is none.
        at_most: Whether the value is an upper bound, rather than a lower one.
    """

    figure: str
    limit: float
    aim: float
    at_most: bool

    def met_by(self, value: float) -> bool:
        """Tell whether a value reaches the limit."""
        return value <= self.limit if self.at_most else value >= self.limit

    def as_text(self, value: float) -> str:
        """Return one line: the figure, what it should be, and whether it is."""
        sign = "<=" if self.at_most else ">="
        aim = "" if self.aim == self.limit else f", aim {self.aim:g}"
        word = "met" if self.met_by(value) else "MISSED"
        return f"{self.figure:24} {value:10.3f}   goal {sign} {self.limit:g}{aim}: {word}"


GOALS: Final = (
    Goal(figure="envoy_cpu_us", limit=260, aim=220, at_most=True),
    Goal(figure="ratio", limit=0.45, aim=0.6, at_most=False),
    Goal(figure="added_p50_ms", limit=0.5, aim=0.3, at_most=True),
    Goal(figure="times_best_peer", limit=4, aim=4, at_most=False),
)
LIMITS: Final = (
    Goal(figure="gateway_rps", limit=1000, aim=1000, at_most=False),
    Goal(figure="gateway_mean_ms", limit=100, aim=100, at_most=True),
    Goal(figure="gateway_p95_ms", limit=200, aim=200, at_most=True),
    Goal(figure="gateway_p99_ms", limit=500, aim=500, at_most=True),
    Goal(figure="gateway_cpu", limit=0.70, aim=0.70, at_most=False),
)
"""What users ask of one instance; CPU is the share of the machine that saturation uses."""


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the medians over the rounds, with every round's rate beside them."""
    return {
        "rps": _median(run.rps for run in runs),
        "mean_ms": _median(run.mean_ms for run in runs),
        "p50_ms": _median(run.p50_ms for run in runs),
        "p95_ms": _median(run.p95_ms for run in runs),
        "p99_ms": _median(run.p99_ms for run in runs),
        "machine_cpu": _median(run.machine_cpu for run in runs),
        "server_cores": _median(run.server_cores for run in runs),
        "other_cores": _median(run.other_cores for run in runs),
        "failed": sum(run.failed for run in runs),
        "rps_all": [round(run.rps, 1) for run in runs],
        "p50_ms_all": [round(run.p50_ms, 3) for run in runs],
    }


def compared(
    one: Mapping[str, Sequence[Run]],
    many: Mapping[str, Sequence[Run]],
    grpc_one: Mapping[str, Sequence[Run]],
    grpc_many: Mapping[str, Sequence[Run]],
    *,
    envoy_cpu_us: Sequence[float],
) -> dict[str, Any]:
    """Return every figure under its key.

    Args:
        one: Runs over HTTP with one connection, by server; `direct`, `gateway` and peers.
        many: Runs with 64.
        grpc_one: Runs over gRPC with one call at a time; `direct` and `gateway`.
        grpc_many: Runs with 64.
        envoy_cpu_us: CPU time of Envoy for one request, by round.
    """
    at_one = {name: summary(runs) for name, runs in one.items()}
    at_many = {name: summary(runs) for name, runs in many.items()}
    direct, gateway = at_many["direct"], at_many["gateway"]
    peers = {
        name: {**at_many[name], "one_connection": at_one[name]}
        for name in many
        if name not in ("direct", "gateway")
    }
    best = max((peer["rps"] for peer in peers.values()), default=None)
    return {
        "void": direct["rps"] < QUIET_RPS,
        "direct_rps": direct["rps"],
        "gateway_rps": gateway["rps"],
        "ratio": round(gateway["rps"] / direct["rps"], 3),
        "added_p50_ms": round(at_one["gateway"]["p50_ms"] - at_one["direct"]["p50_ms"], 3),
        "envoy_cpu_us": _median(envoy_cpu_us),
        "envoy_cpu_us_all": [round(value, 1) for value in envoy_cpu_us],
        "times_best_peer": None if best is None else round(gateway["rps"] / best, 2),
        "gateway_mean_ms": gateway["mean_ms"],
        "gateway_p95_ms": gateway["p95_ms"],
        "gateway_p99_ms": gateway["p99_ms"],
        "gateway_cpu": gateway["machine_cpu"],
        "other_cores": max(direct["other_cores"], gateway["other_cores"]),
        "direct": {**direct, "one_connection": at_one["direct"]},
        "gateway": {**gateway, "one_connection": at_one["gateway"]},
        "peers": peers,
        "grpc": _over_grpc(grpc_one, grpc_many),
        "failed": sum(
            run.failed
            for runs in (one, many, grpc_one, grpc_many)
            for each in runs.values()
            for run in each
        ),
    }


def verdicts(figures: Mapping[str, Any]) -> dict[str, bool]:
    """Tell for each goal and limit whether it is met; those that were not measured are left out."""
    return {
        goal.figure: goal.met_by(figures[goal.figure])
        for goal in (*GOALS, *LIMITS)
        if figures.get(goal.figure) is not None
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as a text for people."""
    servers = {"direct": figures["direct"], "gateway": figures["gateway"], **figures["peers"]}
    lines = [_HEAD]
    for name, value in servers.items():
        lines.append(_line(f"HTTP {name}", value))
    for name in ("direct", "gateway"):
        lines.append(_line(f"gRPC {name}", figures["grpc"][name]))
    lines.append("")
    for title, goals in (("Goals", GOALS), ("Limits of one instance", LIMITS)):
        lines.append(f"{title}:")
        for goal in goals:
            value = figures.get(goal.figure)
            text = f"{goal.figure:24} not measured" if value is None else goal.as_text(value)
            lines.append(f"  {text}")
    lines.append(f"Anything but server and load generator used {figures['other_cores']:.2f} cores.")
    if figures["void"]:
        lines.append(
            f"VOID: direct Triton answered {figures['direct_rps']:.0f} requests a second, below "
            f"{QUIET_RPS:.0f}: the machine was busy with something else."
        )
    return "\n".join(lines)


_HEAD: Final = (
    f"{'medians':16}{'rps@64':>8}{'mean':>8}{'p50':>8}{'p95':>8}{'p99':>8}"
    f"{'CPU':>6}{'cores':>7}{'rps@1':>8}{'p50@1':>8}{'p99@1':>8}   (ms)"
)


def _line(name: str, value: Mapping[str, Any]) -> str:
    single = value["one_connection"]
    return (
        f"{name:16}{value['rps']:8.0f}{value['mean_ms']:8.2f}{value['p50_ms']:8.2f}"
        f"{value['p95_ms']:8.2f}{value['p99_ms']:8.2f}{value['machine_cpu']:6.0%}"
        f"{value['server_cores']:7.2f}{single['rps']:8.0f}{single['p50_ms']:8.3f}"
        f"{single['p99_ms']:8.3f}"
    )


def _over_grpc(
    one: Mapping[str, Sequence[Run]], many: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    both = {
        name: {**summary(many[name]), "one_connection": summary(one[name])}
        for name in ("direct", "gateway")
    }
    first, second = both["direct"], both["gateway"]
    added = second["one_connection"]["p50_ms"] - first["one_connection"]["p50_ms"]
    return {
        **both,
        "direct_rps": first["rps"],
        "gateway_rps": second["rps"],
        "ratio": round(second["rps"] / first["rps"], 3),
        "added_p50_ms": round(added, 3),
    }


def _median(values: Any) -> float:
    return round(float(statistics.median(values)), 3)
