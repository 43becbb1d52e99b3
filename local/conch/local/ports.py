"""Loopback ports for servers: the same ones again after a restart, where they are free."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Final

from conch.core import ConflictError

# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes one.
_LOW: Final = 18_000
_HIGH: Final = 32_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on a port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def allocate(
    wanted: tuple[str, ...], *, kept: Mapping[str, int], taken: Container[int], home: Path
) -> dict[str, int]:
    """Return a free port for each name.

    Args:
        wanted: What the ports are for, such as `("http", "grpc")`.
        kept: Ports of the previous run, taken again where they are free.
        taken: Ports promised to others, which may not listen yet.
        home: Decides where the search begins, so that two homes rarely try the same.

    Raises:
        ConflictError: No port is free.
    """
    digest = hashlib.sha256(str(home).encode()).digest()
    offset = int.from_bytes(digest[:4], "big")
    candidates = (_LOW + (offset + i) % (_HIGH - _LOW) for i in range(_HIGH - _LOW))
    found: dict[str, int] = {}
    for name in wanted:
        port = kept.get(name)
        if port is not None and port not in found.values() and is_free(port):
            found[name] = port
            continue
        for port in candidates:
            promised = {*found.values(), *kept.values()}
            if port not in taken and port not in promised and is_free(port):
                found[name] = port
                break
        else:
            raise ConflictError(f"No free port in {_LOW}..{_HIGH} for {name}.")
    return found
