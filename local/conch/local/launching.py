"""Bringing the supervisor of a home up and down."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from .atomic_files import try_lock
from .desired import Desired, DesiredFile
from .errors import SupervisorMissingError
from .gateways import Gateway
from .homes import Home
from .identities import Identity, runs
from .instances import Phase
from .observed import Observed, read_observed

_POLL_S: Final = 0.03


def launch(home: Path, *, timeout_s: float = 30.0) -> int:
    """Start the supervisor of a home in the background, unless one runs; return its pid.

    The home must have been set up (`DesiredFile.set_up`). Returns as soon as the supervisor has
    written what it sees; `wait_until_ready` waits for the servers.

    Raises:
        SupervisorMissingError: Nothing was set up, or the supervisor ended at once.
    """
    place = Home(home.resolve())
    DesiredFile(place).require()
    if (pid := running(home)) is not None:
        return pid
    place.create()
    log = place.logs / "supervisor.log"
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "conch.local.supervising", "--home", str(place.root)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if running(home) == child:
            return child
        if not _lives(child):
            break
        time.sleep(_POLL_S)
    raise SupervisorMissingError(
        f"The supervisor of {place.root} did not come up.", hint=f"See {log}."
    )


def running(home: Path) -> int | None:
    """Return the process number of a home's supervisor; None where none runs."""
    place = Home(home.resolve())
    observed = read_observed(place)
    if observed is None or not place.lock.exists():
        return None
    return observed.supervisor.pid if runs(observed.supervisor) else None


def alive(home: Path) -> frozenset[str]:
    """Return the names of a home's processes that run, whether or not a supervisor watches them."""
    observed = read_observed(Home(home.resolve()))
    return frozenset(
        name
        for name, one in (observed.instances.items() if observed is not None else ())
        if one.pid is not None and runs(Identity(pid=one.pid, started=one.started))
    )


def wait_until_ready(
    home: Path, *, timeout_s: float = 60.0, progress: Callable[[str], None] = lambda line: None
) -> Observed:
    """Wait until everything is ready and the gateway sends to it; return what is seen then.

    Raises:
        SupervisorMissingError: No supervisor runs, or not everything was ready in time.
    """
    place = Home(home.resolve())
    deadline = time.monotonic() + timeout_s
    gateway = Gateway(place)
    reported: set[str] = set()
    waiting: list[str] = []
    while time.monotonic() < deadline:
        if running(home) is None:
            raise SupervisorMissingError(
                f"No supervisor runs for {place.root}.",
                hint=f"See {place.logs / 'supervisor.log'}.",
            )
        observed, desired = read_observed(place), DesiredFile(place).require()
        if observed is not None:
            ready = {name for name, one in observed.instances.items() if one.phase is Phase.READY}
            for name in sorted(ready - reported):
                progress(f"{name} is ready.")
            reported |= ready
            waiting = sorted(_expected(desired) - ready)
            serves = desired.settings.serves
            if not waiting and (not serves or gateway.serves(observed.in_service())):
                return observed
        time.sleep(_POLL_S)
    raise SupervisorMissingError(
        f"Not ready after {timeout_s:.0f} s: {', '.join(waiting) or 'the gateway'}.",
        hint=f"See {place.logs}.",
    )


def stop(home: Path, *, timeout_s: float = 60.0) -> None:
    """End a home's supervisor and everything under it; returns when nothing runs any more.

    What a killed supervisor left behind is taken over by another one first, and ended in order.

    Raises:
        SupervisorMissingError: It did not end in time.
    """
    place = Home(home.resolve())
    pid = running(home)
    if pid is None and alive(home):
        pid = launch(home)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if pid is not None:
            _lives(pid)
        if running(home) is None and (handle := try_lock(place.lock)) is not None:
            os.close(handle)
            return
        time.sleep(_POLL_S)
    raise SupervisorMissingError(f"The supervisor {pid} did not end within {timeout_s:.0f} s.")


def _expected(desired: Desired) -> set[str]:
    services = {service.name for service in desired.services}
    if not desired.settings.serves:
        return services
    servers = {
        f"triton-{slot}-{replica}"
        for slot, replicas in desired.settings.slots.items()
        for replica in range(replicas)
    }
    return servers | {"envoy"} | services


def _lives(pid: int) -> bool:
    """Tell whether a process runs; where it was our child and ended, let the kernel forget it."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return psutil.pid_exists(pid)
