"""Settings of the local target: one frozen value, read once and passed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from conch.core import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenServer:
    """A Triton server that somebody else runs.

    Attributes:
        host: Its address, numeric, since Envoy's endpoints are.
        http_port: Where it takes HTTP.
        grpc_port: Where it takes gRPC.
    """

    host: str
    http_port: int
    grpc_port: int

    def __post_init__(self) -> None:
        try:
            ip_address(self.host)
        except ValueError as error:
            raise InvalidValueError(f"{self.host!r} is not a numeric address.") from error
        _within("http_port", self.http_port, 1, 65_535)
        _within("grpc_port", self.grpc_port, 1, 65_535)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How one machine serves.

    Attributes:
        slots: Number of replicas by slot name, each at least 1. Two slots are what a release
            needs: one for the live version and one for the candidate.
        inference_host: Address that the gateway listens on. Loopback, so that nothing is
            published before somebody decides so.
        inference_port: Its port; 0 takes a free one, which the observed state then names.
        control_address: `host:port` of the friendly API, reached under `/v1/`; None: no such
            routes.
        max_request_bytes: Largest request body; a larger one is answered with 413. Bodies are
            held in memory until complete, since a retry must be able to send them again.
        request_timeout_s: Longest a request may take, in seconds.
        retry_resets: Whether a request whose server vanished while working on it is sent again.
            Right for pure inference; turn it off for stateful models.
        streaming: Whether `ModelStreamInfer` is reachable.
        drain_s: How long a server keeps running after the gateway stopped sending to it.
        exit_timeout_s: How long Triton may take to end after SIGTERM, before it is killed.
        start_timeout_s: How long a process may take to become ready before it is started again.
        health_interval_s: Period of Envoy's active health checks.
        gateway_threads: Worker threads of Envoy. Half of the cores, since the servers need the
            rest: on two cores one thread took 230 us of CPU a request, two took 252 us.
        http_threads: HTTP threads of one Triton server.
        log_bytes: A log file above this size is rotated.
        log_files: How many rotated files are kept of each log.
        tritonserver: Path of another `tritonserver` (native backends, GPU); None: the one of the
            runtime.
        backend_directory: Its backends; None: the folder `backends` beside its `bin`, or the
            runtime's.
        servers: By slot, the servers that somebody else runs; such a slot has no others, and
            `slots` says how many those are.
        serves: Whether models are served here; where not, only services run.
    """

    slots: Mapping[str, int] = field(default_factory=lambda: {"a": 1, "b": 1})
    inference_host: str = "127.0.0.1"
    inference_port: int = 8080
    control_address: str | None = None
    max_request_bytes: int = 64 * 1024 * 1024
    request_timeout_s: float = 60.0
    retry_resets: bool = True
    streaming: bool = True
    drain_s: float = 1.0
    exit_timeout_s: int = 10
    start_timeout_s: float = 60.0
    health_interval_s: float = 0.5
    gateway_threads: int = field(default_factory=lambda: min(max((os.cpu_count() or 1) // 2, 1), 4))
    http_threads: int = field(default_factory=lambda: min(max(os.cpu_count() or 1, 2), 8))
    log_bytes: int = 128 * 1024 * 1024
    log_files: int = 3
    tritonserver: Path | None = None
    backend_directory: Path | None = None
    servers: Mapping[str, tuple[GivenServer, ...]] = field(default_factory=dict)
    serves: bool = True

    def __post_init__(self) -> None:
        if not self.slots:
            raise InvalidValueError("A local target needs at least one slot.")
        for slot, replicas in self.slots.items():
            if not (slot.isascii() and slot.isalnum()):
                raise InvalidValueError(f"{slot!r} cannot name a slot: use letters and digits.")
            _within(f"Replicas of slot {slot!r}", replicas, 1, 64)
        for slot, given in self.servers.items():
            if self.slots.get(slot) != len(given):
                raise InvalidValueError(
                    f"Slot {slot!r} has {self.slots.get(slot, 0)} servers, and {len(given)} are "
                    "given for it."
                )
        _within("inference_port", self.inference_port, 0, 65_535)
        _within("max_request_bytes", self.max_request_bytes, 1024, 2**31)
        for name in ("request_timeout_s", "start_timeout_s", "health_interval_s"):
            _within(name, getattr(self, name), 0.05, 86_400)
        _within("drain_s", self.drain_s, 0, 3_600)
        _within("exit_timeout_s", self.exit_timeout_s, 1, 3_600)
        _within("log_bytes", self.log_bytes, 4096, 2**40)
        _within("log_files", self.log_files, 1, 1000)
        _within("gateway_threads", self.gateway_threads, 1, 256)
        _within("http_threads", self.http_threads, 1, 256)
        if self.control_address is not None:
            host, _, port = self.control_address.rpartition(":")
            if not host or not port.isdecimal():
                raise InvalidValueError(
                    f"control_address is {self.control_address!r}.", hint="Write host:port."
                )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        value = asdict(self)
        value["slots"] = dict(self.slots)
        value["servers"] = {
            slot: [asdict(one) for one in given] for slot, given in self.servers.items()
        }
        for name in ("tritonserver", "backend_directory"):
            value[name] = None if value[name] is None else str(value[name])
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote; keys left out take their defaults.

        Raises:
            InvalidValueError: A key is unknown or a value is out of range.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(value) - known):
            raise InvalidValueError(
                f"Unknown local setting(s): {', '.join(unknown)}.",
                hint=f"Known are: {', '.join(sorted(known))}.",
            )
        given = dict(value)
        for name in ("tritonserver", "backend_directory"):
            if given.get(name) is not None:
                given[name] = Path(given[name])
        if "servers" in given:
            given["servers"] = {
                slot: tuple(GivenServer(**one) for one in servers)
                for slot, servers in given["servers"].items()
            }
        return cls(**given)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidValueError(f"{name} is {value}; it must lie in {low}..{high}.")
