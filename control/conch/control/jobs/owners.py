"""Who holds a lease: a process, named so that its death can be told from its silence."""

from __future__ import annotations

import os
import socket

from conch.local import Identity, identify, runs


def this_process() -> str:
    """Return this process as `host:pid:start`; see `conch.local.Identity` for the start."""
    identity = identify(os.getpid())
    assert identity is not None, "this process runs"
    return f"{socket.gethostname()}:{identity.pid}:{identity.started}"


def is_alive(owner: str) -> bool:
    """Tell whether a holder may still be at work.

    A holder on another host is taken to be alive: its lease will tell. One on this host is alive
    if a process of its number runs that also started when it did.
    """
    before, _, started = owner.rpartition(":")
    host, _, pid = before.rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return True
    return runs(Identity(pid=int(pid), started=started))
