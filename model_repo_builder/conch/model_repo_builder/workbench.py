"""Builds in a worker process that is kept warm, limited in time and memory.

Loading a stranger's model and exporting it can crash, hang or eat memory, and takes seconds of
imports. So builds run in a process of their own, one at a time; a process that ends or is ended is
replaced at once, and the replacement warms up while nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from .errors import (
    BuildCancelledError,
    MemoryLimitError,
    TimeLimitError,
    WorkerCrashedError,
    error_from_dict,
)
from .manifests import Manifest
from .publishing import remove_leftovers
from .requests import BuildRequest
from .worker_processes import WorkerProcess

_POLL_S: Final = 0.05
_START_S: Final = 180.0
LOG: Final = "builder.log"


class Workbench:
    """Where versions are built. Safe to use from several threads; builds take turns.

    A worker whose parent dies ends by itself, because its standard input ends.

    Args:
        log_dir: Where `builder.log` is written: what the frameworks print.
        loaders: `module:mapping` of loaders by flavour, importable by the worker, to use instead
            of the built-in ones; see `loading`.
    """

    def __init__(self, *, log_dir: Path, loaders: str = "") -> None:
        self._log = log_dir / LOG
        self._loaders = loaders
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def warm(self) -> None:
        """Start a worker if there is none, and wait until it can build without delay.

        Raises:
            WorkerCrashedError: It ended while it started.
        """
        with self._turn:
            self._ready_worker(cancelled=lambda: False)

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None] = lambda part, text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Manifest:
        """Build, verify and publish one version.

        Args:
            request: What to build.
            progress: Called in this thread with the part that is done, 0 to 1, and what is done.
            cancelled: Asked some twenty times per second; true ends the build.

        Raises:
            BuildError: Why there is no build; nothing is left at `request.output`.
        """
        with self._turn:
            worker = self._ready_worker(cancelled=cancelled)
            try:
                worker.send({"build": request.as_dict()})
                answer = self._follow(worker, request, progress, cancelled)
            except BaseException:
                self._replace(worker)
                remove_leftovers(request.output.parent)
                raise
            if worker.memory_bytes() > request.limits.memory_bytes / 2:
                self._replace(worker)  # else what this build left would count for the next one
        if "error" in answer:
            raise error_from_dict(answer["error"])
        return Manifest.from_dict(answer["manifest"], path=request.output)

    def close(self) -> None:
        """End the worker, and with it a build that is under way. Idempotent."""
        self._closed.set()
        with self._turn:
            if self._worker is not None:
                self._worker.kill()
                self._worker = None

    def _follow(
        self,
        worker: WorkerProcess,
        request: BuildRequest,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> dict[str, Any]:
        """Pass on progress until the build ends; enforce its limits."""
        limits = request.limits
        deadline = time.monotonic() + limits.time_s
        while True:
            message = worker.receive(_POLL_S)
            if message is None:
                _crashed(worker, f"building {request.registered_name!r}")
            if "manifest" in message or "error" in message:
                return message
            if "progress" in message:
                part, text = message["progress"]
                progress(part, text)
            self._refuse_if_cancelled(request.registered_name, cancelled)
            if time.monotonic() > deadline:
                raise TimeLimitError(
                    f"The build of {request.registered_name!r} took longer than its "
                    f"{limits.time_s:g} seconds.",
                    hint="Raise the time limit, or register a smaller model.",
                )
            if (found := worker.memory_bytes()) > limits.memory_bytes:
                raise MemoryLimitError(
                    f"The build of {request.registered_name!r} took {found / 1024**2:.0f} MiB of "
                    f"memory; it may take {limits.memory_bytes / 1024**2:.0f}.",
                    hint="Raise the memory limit, or register a smaller model.",
                )

    def _ready_worker(self, *, cancelled: Callable[[], bool]) -> WorkerProcess:
        worker = self._worker
        if worker is None or not worker.alive():
            worker = self._start()
        deadline = time.monotonic() + _START_S
        while not worker.ready:
            message = worker.receive(_POLL_S)
            if message is None:
                self._worker = None
                _crashed(worker, "starting")
            worker.ready = "ready" in message
            self._refuse_if_cancelled("a model", cancelled)
            if time.monotonic() > deadline:
                self._replace(worker)
                raise WorkerCrashedError(
                    f"The build worker was not ready within {_START_S:g} seconds.",
                    hint=f"{self._log} has what it printed.",
                )
        return worker

    def _start(self) -> WorkerProcess:
        self._worker = WorkerProcess(self._log, loaders=self._loaders)
        return self._worker

    def _replace(self, worker: WorkerProcess) -> None:
        worker.kill()
        self._worker = None
        if not self._closed.is_set():
            self._start()

    def _refuse_if_cancelled(self, name: str, cancelled: Callable[[], bool]) -> None:
        if self._closed.is_set() or cancelled():
            raise BuildCancelledError(f"The build of {name!r} was cancelled.")


def _crashed(worker: WorkerProcess, doing: str) -> NoReturn:
    words = worker.last_words()
    how = worker.end()
    last = words.splitlines()[-1] if words else "it said nothing"
    raise WorkerCrashedError(
        f"The build worker {how} while {doing}; its last words: {last:.300}",
        hint="Other builds are not affected. Killed without a word usually means that the machine "
        "ran out of memory.",
        last_words=words,
    )
