"""A stand-in for controllers that runs beside a test, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from kube_clients import Connect

from conch.kserve.cluster import KubernetesCluster


class Runs(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> None:
        """Run."""


S = TypeVar("S", bound=Runs)


@contextmanager
def in_a_thread(
    connect: Connect, make: Callable[[KubernetesCluster], S], *, manager: str
) -> Iterator[S]:
    """Run a stand-in for the block, with a client of its own that writes as `manager`."""
    started = threading.Event()
    found: list[Any] = []

    async def play() -> None:
        async with connect(manager=manager) as cluster:
            standin = make(cluster)
            task = asyncio.create_task(standin.run())
            found.extend([asyncio.get_running_loop(), task, standin])
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    thread = threading.Thread(target=lambda: asyncio.run(play()), daemon=True)
    thread.start()
    assert started.wait(30)
    loop, task, standin = found
    try:
        yield standin
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
