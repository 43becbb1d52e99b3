"""Command lines of everything that runs here, and which processes should exist."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from conch.core import SlotName

from .desired import Desired
from .homes import Home
from .instances import Instance, Kind
from .offers import backend_directory, installed_backends, runs_natively

ENVOY: Final = "envoy"
TRITON_PORTS: Final = ("http", "grpc", "metrics")
_HARMLESS: Final = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start a process.

    Attributes:
        argv: Program and arguments; `{http}`, `{grpc}`, `{metrics}` stand for ports.
        environment: Variables on top of the inherited ones.
        inherits: Whether it gets all variables of the supervisor, or only the harmless few.
        directory: Working directory; None: the supervisor's.
        ports: What it needs ports for.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    inherits: bool = False
    directory: Path | None = None
    ports: tuple[str, ...] = ()

    @property
    def full_environment(self) -> dict[str, str]:
        """All variables that the process gets."""
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        few = path | {name: os.environ[name] for name in _HARMLESS if name in os.environ}
        return {**(os.environ if self.inherits else few), **self.environment}

    @property
    def digest(self) -> str:
        """Changes when the process must be started anew in order to follow its settings."""
        value = [self.argv, sorted(self.environment.items()), str(self.directory)]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def triton_name(slot: str, replica: int) -> str:
    """Return the name of a slot's server."""
    return f"triton-{slot}-{replica}"


def wanted(desired: Desired, home: Home) -> dict[str, Instance]:
    """Return the instances that should exist, by name, each as if it was never started.

    Servers come before the gateway and that before the services: the order of starting.
    """
    found = []
    if desired.settings.serves:
        for slot in sorted(desired.settings.slots):
            for replica in range(desired.settings.slots[slot]):
                found.append(_server(desired, home, SlotName(slot), replica))
        found.append(Instance(name=ENVOY, kind=Kind.ENVOY, command=envoy(desired, home).digest))
    for service in desired.services:
        digest = service_command(desired, service.name).digest
        found.append(Instance(name=service.name, kind=Kind.SERVICE, command=digest))
    return {one.name: one for one in found}


def _server(desired: Desired, home: Home, slot: SlotName, replica: int) -> Instance:
    one = Instance(
        name=triton_name(slot, replica), kind=Kind.TRITON, command="", slot=slot, replica=replica
    )
    servers = desired.settings.servers.get(slot)
    if servers is None:
        return replace(one, command=triton(desired, home, slot, replica).digest)
    server = servers[replica]
    ports = {"http": server.http_port, "grpc": server.grpc_port}
    command = f"{server.host}:{server.http_port}:{server.grpc_port}"
    return replace(one, command=command, host=server.host, ports=ports, given=True)


def command_of(instance: Instance, desired: Desired, home: Home) -> Command:
    """Return how to start an instance."""
    if instance.kind is Kind.TRITON:
        assert instance.slot is not None
        return triton(desired, home, instance.slot, instance.replica)
    if instance.kind is Kind.ENVOY:
        return envoy(desired, home)
    return service_command(desired, instance.name)


def triton(desired: Desired, home: Home, slot: SlotName, replica: int) -> Command:
    """Return the command line of a slot's Triton server."""
    settings, runtime = desired.settings, desired.runtime
    prefix = shared_memory_prefix(home, triton_name(slot, replica))
    argv = (
        str(settings.tritonserver or runtime.tritonserver),
        f"--model-repository={home.repository(slot)}",
        f"--backend-directory={backend_directory(settings, runtime)}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        # A model that did not load must not take the others of its slot out of service.
        "--strict-readiness=false",
        "--exit-on-error=false",
        f"--exit-timeout-secs={settings.exit_timeout_s}",
        "--allow-http=true",
        "--http-address=127.0.0.1",
        "--http-port={http}",
        f"--http-thread-count={settings.http_threads}",
        "--allow-grpc=true",
        "--grpc-address=127.0.0.1",
        "--grpc-port={grpc}",
        "--allow-metrics=true",
        "--metrics-address=127.0.0.1",
        "--metrics-port={metrics}",
        "--log-format=ISO8601",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        "--backend-config=python,shm-default-byte-size=1048576",
    )
    return Command(argv=argv, environment=_environment(desired), ports=TRITON_PORTS)


def _environment(desired: Desired) -> dict[str, str]:
    """Return a Triton server's variables.

    The Python backend finds Python and its packages through them: those of the runtime. A server
    given by path that has other backends brings what it needs, and finds it as its user does.
    """
    found = dict(desired.runtime.environment)
    backends = installed_backends(backend_directory(desired.settings, desired.runtime))
    if desired.settings.tritonserver is None or not runs_natively(backends):
        return found
    return found | {name: os.environ[name] for name in found if name in os.environ}


def envoy(desired: Desired, home: Home) -> Command:
    """Return the command line of the gateway."""
    argv = (
        str(desired.runtime.envoy),
        "--config-path",
        "bootstrap.json",
        "--disable-hot-restart",
        "--concurrency",
        str(desired.settings.gateway_threads),
        "--file-flush-interval-msec",
        "500",
        "--log-level",
        "warning",
        "--drain-time-s",
        "1",
        "--drain-strategy",
        "immediate",
    )
    return Command(argv=argv, environment={}, directory=home.envoy)


def service_command(desired: Desired, name: str) -> Command:
    """Return the command line of a further service."""
    service = next(one for one in desired.services if one.name == name)
    return Command(
        argv=service.argv,
        environment=service.environment,
        inherits=True,
        directory=service.directory,
    )


def shared_memory_prefix(home: Home, name: str) -> str:
    """Return how the names of a server's shared memory begin; unique to the home."""
    return f"conch_{hashlib.sha256(str(home.root).encode()).hexdigest()[:8]}_{name}_"
