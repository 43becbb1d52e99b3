"""The capture process: `python -m conch.control.capturing.serving --home FOLDER`.

A gRPC server that Envoy streams copies to. One thread runs all streams; writing is another's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc

from conch.local import Home
from conch.local.envoy import CAPTURE_SOCKET

from ..settings import CaptureSettings, read_settings, running_settings
from .exchanges import Exchange, Keeping
from .spooling import Spool
from .wire import read_message

log = logging.getLogger(__name__)

_SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_WAITING: Final = 4096
_STREAMS: Final = 512
_NICE: Final = 5
"""Copies are worth less than answers: where there are few cores, this process waits."""


def spool_folder(home: Path) -> Path:
    """Return where captured requests wait for the event log."""
    return home / "events" / "captured"


class Capturer:
    """Puts the copies of each request together and hands them on.

    Args:
        spool: Takes the lines.
        keeping: What is kept of a payload.
    """

    def __init__(self, spool: Spool, keeping: Keeping) -> None:
        self._spool = spool
        self._keeping = keeping

    async def process(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Take one stream: the parts of one request and its answer. Nothing is ever said back."""
        tally = self._spool.tally
        tally.seen += 1
        exchange = Exchange(self._keeping)
        try:
            async for data in requests:
                message = read_message(data)
                if message is not None:
                    exchange.add(message)
                if exchange.done:
                    break
            line = exchange.line() if exchange.done else None
        except ValueError as error:
            log.debug("a copy cannot be read: %s", error)
            tally.unreadable += 1
            return
        if not exchange.done:
            tally.incomplete += 1
        elif line is None:
            tally.unreadable += 1
        else:
            self._spool.offer(line)
        return
        yield b""  # what makes this a stream of answers, of which there is none


async def serve(socket: Path, capturer: Capturer) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        socket: The Unix socket. Its address may have 107 bytes at most, so the working directory
            becomes its folder.
        capturer: Takes the streams.
    """
    os.chdir(socket.parent)
    Path(socket.name).unlink(missing_ok=True)
    server = grpc.aio.server(
        maximum_concurrent_rpcs=_STREAMS, options=[("grpc.max_receive_message_length", 64 * 2**20)]
    )
    handler = grpc.stream_stream_rpc_method_handler(capturer.process)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Process": handler}),)
    )
    server.add_insecure_port(f"unix:{socket.name}")
    await server.start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop(grace=1.0)


def keeping_of(settings: CaptureSettings) -> Keeping:
    """Return what the settings let be kept."""
    return Keeping(redacted=frozenset(settings.redact), largest_bytes=settings.largest_bytes)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog=__name__, description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = running_settings(home) or read_settings(home=home)
    os.nice(_NICE)
    spool = Spool(
        spool_folder(settings.home),
        file_bytes=settings.capture.spool_bytes // 4,
        files=3,
        waiting=_WAITING,
    )
    try:
        envoy = Home(settings.home / "serving").envoy
        asyncio.run(serve(envoy / CAPTURE_SOCKET, Capturer(spool, keeping_of(settings.capture))))
    finally:
        spool.close()


if __name__ == "__main__":
    main()
