"""Who holds a lease: a process, named so that its death can be told from its silence."""

from __future__ import annotations

import os
import socket

import psutil


def this_process() -> str:
    """Return this process as `host:pid:start`, with its start in whole milliseconds."""
    return _name(psutil.Process(os.getpid()))


def is_alive(owner: str) -> bool:
    """Tell whether a holder may still be at work.

    A holder on another host is taken to be alive: its lease will tell. One on this host is alive
    if a process of its number exists that also started when it did.
    """
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdecimal():
        return True
    try:
        return _name(psutil.Process(int(rest))) == owner
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    return f"{socket.gethostname()}:{process.pid}:{int(process.create_time() * 1000)}"
