"""Whether the Triton servers that the settings name can be used, before anything is started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from conch.core import ConchError, SlotName

from .errors import SlotNotReadyError, TritonUnusableError
from .examining import examine
from .homes import Home
from .offers import backend_directory, installed_backends
from .runtime import Runtime
from .settings import GivenServer, LocalSettings

_CONNECT_S = 2.0


def unusable(settings: LocalSettings, runtime: Runtime, home: Path) -> list[ConchError]:
    """Return what stands in the way, an error for each; empty where nothing does.

    Servers that somebody else runs are examined, which takes a second or two for each. One that is
    away is a `SlotNotReadyError`, which is retryable; all others are not.
    """
    found = [] if settings.tritonserver is None else _by_path(settings, runtime)
    place = Home(home.resolve())
    for slot, servers in sorted(settings.servers.items()):
        place.create_slot(SlotName(slot))
        for server in servers:
            try:
                _examine(server, place.repository(SlotName(slot)))
            except ConchError as error:
                found.append(error)
    return found


def _by_path(settings: LocalSettings, runtime: Runtime) -> list[ConchError]:
    program, backends = settings.tritonserver, backend_directory(settings, runtime)
    assert program is not None
    found: list[ConchError] = []
    if not (program.is_file() and os.access(program, os.X_OK)):
        found.append(
            TritonUnusableError(
                f"{program} is not a program that can be run.",
                hint="Correct `serving.tritonserver`.",
            )
        )
    if not installed_backends(backends):
        found.append(
            TritonUnusableError(
                f"There is no backend in {backends}.",
                hint="Name the folder that has them: `serving.backend_directory`.",
            )
        )
    return found


def _examine(server: GivenServer, repository: Path) -> None:
    address = (server.host, server.grpc_port)
    try:  # a client of gRPC would wait for a port that nobody listens on
        socket.create_connection(address, timeout=_CONNECT_S).close()
    except OSError as error:
        raise SlotNotReadyError(
            f"No server answers gRPC at {server.host}:{server.grpc_port}: {error}.",
            hint="Start it, or correct `serving.servers`.",
        ) from error
    examine(f"{server.host}:{server.grpc_port}", repository)
