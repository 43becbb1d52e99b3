"""Builds in a worker process that is kept warm, confined, limited in time, memory and disk.

Loading a stranger's model and exporting it can crash, hang or eat memory, and takes seconds of
imports. So builds run in a process of their own, one at a time; a process that ends or is ended is
replaced at once, and the replacement warms up while nobody waits for it.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from .environments import (
    Environment,
    conch_path,
    ensure,
    environments_root,
    look,
    remove,
    superfluous,
)
from .errors import (
    BuildCancelledError,
    DiskLimitError,
    MemoryLimitError,
    TimeLimitError,
    WorkerCrashedError,
    error_from_dict,
)
from .handing_over import handed_over, take_over, used_bytes
from .isolation import ISOLATED, Isolation
from .manifests import Manifest
from .publishing import STAGING_PREFIX, remove_leftovers
from .recorded_requirements import holds_code, installed_version, judge, read_recorded
from .requests import BuildRequest
from .worker_processes import PRESENT, Interpreter, WorkerProcess

_POLL_S: Final = 0.05
_START_S: Final = 180.0
_DISK_POLL_S: Final = 1.0
LOG: Final = "builder.log"


class Workbench:
    """Where versions are built. Safe to use from several threads; builds take turns.

    A worker whose parent dies ends by itself, because its standard input ends.

    Args:
        log_dir: Where `builder.log` is written: what the frameworks print.
        loaders: `module:mapping` of loaders by flavour, importable by the worker, to use instead
            of the built-in ones; see `loading`.
        isolation: What to take away from workers.
        environments: Where environments for models of stored code are; None: see
            `environments_root`.
        interpreter: What runs the warm worker.
    """

    def __init__(
        self,
        *,
        log_dir: Path,
        loaders: str = "",
        isolation: Isolation = ISOLATED,
        environments: Path | None = None,
        interpreter: Interpreter = PRESENT,
    ) -> None:
        self._log = log_dir / LOG
        self._loaders = loaders
        self._isolation = isolation
        self._environments = environments
        self._interpreter = interpreter
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
        environment, note = self._environment(request, progress, cancelled)
        where = None if environment is None else environment.path
        request = replace(request, environment=note, environment_path=where)
        with self._turn, contextlib.ExitStack() as held:
            if environment is None:
                worker = self._ready_worker(cancelled=cancelled)
            else:
                held.enter_context(environment.used())
                worker = self._foreign_worker(environment, cancelled=cancelled)
            try:
                answer = self._built(worker, request, progress, cancelled)
            except BaseException:
                self._discard(worker)
                remove_leftovers(request.output.parent)
                raise
            if request.trust_pickles or worker.memory_bytes() > request.limits.memory_bytes / 2:
                self._discard(worker)  # what stored code, or this build, left is for nobody else
        if "error" in answer:
            raise error_from_dict(answer["error"])
        if environment is not None:
            environment.keep_for(request.output)
        return Manifest.from_dict(answer["manifest"], path=request.output)

    def close(self) -> None:
        """End the worker, and with it a build that is under way. Idempotent."""
        self._closed.set()
        with self._turn:
            if self._worker is not None:
                self._worker.kill()
                self._worker = None

    def _environment(
        self,
        request: BuildRequest,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[Environment | None, str]:
        """Return what a model of stored code has to be loaded in, and why; None for what is here.

        Made outside of any turn: it takes minutes, in which others can build.
        """
        if not request.trust_pickles or not holds_code(request.source):
            return None, ""
        recorded = read_recorded(request.source)
        if recorded is None:
            return None, "no requirements were recorded; loaded with what is installed here"
        python = platform.python_version()
        judgement = judge(recorded, python=python, installed=installed_version)
        if judgement.near:
            return None, judgement.note
        root = self._environments or environments_root()
        environment = ensure(
            recorded, root=root, progress=lambda line: progress(0.0, line), cancelled=cancelled
        )
        remove(superfluous(look(root, now=time.time())))
        name = environment.path.name
        return environment, f"loaded in environment {name} of what was recorded: {judgement.note}"

    def _built(
        self,
        worker: WorkerProcess,
        request: BuildRequest,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> dict[str, Any]:
        """Have a worker build; its answer, with the build published if there is one."""
        with contextlib.ExitStack() as held:
            inner = request
            if worker.numbers is not None:
                exchange = handed_over(request, worker.scratch, worker.numbers)
                inner = held.enter_context(exchange)
            worker.send({"build": inner.as_dict()})
            answer = self._follow(worker, request, progress, cancelled)
            if inner is not request and "manifest" in answer:
                if request.trust_pickles:
                    worker.stop()  # stored code must not change what is being copied
                take_over(inner.output, request.output)
        return answer

    def _foreign_worker(
        self, environment: Environment, *, cancelled: Callable[[], bool]
    ) -> WorkerProcess:
        path = conch_path(environment.path.parent)
        interpreter = Interpreter(python=environment.python, paths=(path,))
        worker = WorkerProcess(
            self._log, loaders=self._loaders, isolation=self._isolation, interpreter=interpreter
        )
        try:
            self._wait_until_ready(worker, cancelled)
        except BaseException:
            worker.kill()
            raise
        return worker

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
        look_again = 0.0
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
                    f"{limits.time_s:g} seconds.{_said(worker)}",
                    hint="Raise the time limit, or register a smaller model.",
                    last_words=worker.last_words(),
                )
            if (found := worker.memory_bytes()) > limits.memory_bytes:
                raise MemoryLimitError(
                    f"The build of {request.registered_name!r} took {found / 1024**2:.0f} MiB of "
                    f"memory; it may take {limits.memory_bytes / 1024**2:.0f}.{_said(worker)}",
                    hint="Raise the memory limit, or register a smaller model.",
                    last_words=worker.last_words(),
                )
            if time.monotonic() > look_again:
                look_again = time.monotonic() + _DISK_POLL_S
                staging = request.output.parent.glob(f"{STAGING_PREFIX}{request.output.name}-*")
                if (used := used_bytes((worker.scratch, *staging))) > limits.disk_bytes:
                    raise DiskLimitError(
                        f"The build of {request.registered_name!r} wrote {used / 1024**2:.0f} MiB "
                        f"to disk; it may write {limits.disk_bytes / 1024**2:.0f}.{_said(worker)}",
                        hint="Raise the disk limit, or register a smaller model.",
                        last_words=worker.last_words(),
                    )

    def _ready_worker(self, *, cancelled: Callable[[], bool]) -> WorkerProcess:
        worker = self._worker
        if worker is None or not worker.alive():
            worker = self._start()
        try:
            self._wait_until_ready(worker, cancelled)
        except WorkerCrashedError:
            worker.kill()
            self._worker = None
            raise
        return worker

    def _wait_until_ready(self, worker: WorkerProcess, cancelled: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not worker.ready:
            message = worker.receive(_POLL_S)
            if message is None:
                _crashed(worker, "starting")
            worker.ready = "ready" in message
            self._refuse_if_cancelled("a model", cancelled)
            if time.monotonic() > deadline:
                raise WorkerCrashedError(
                    f"The build worker was not ready within {_START_S:g} seconds.",
                    hint=f"{self._log} has what it printed.",
                )

    def _start(self) -> WorkerProcess:
        self._worker = WorkerProcess(
            self._log,
            loaders=self._loaders,
            isolation=self._isolation,
            interpreter=self._interpreter,
        )
        return self._worker

    def _discard(self, worker: WorkerProcess) -> None:
        """End a worker; the warm one is replaced at once."""
        worker.kill()
        if worker is not self._worker:
            return
        self._worker = None
        if not self._closed.is_set():
            self._start()

    def _refuse_if_cancelled(self, name: str, cancelled: Callable[[], bool]) -> None:
        if self._closed.is_set() or cancelled():
            raise BuildCancelledError(f"The build of {name!r} was cancelled.")


def _said(worker: WorkerProcess) -> str:
    """The last line that a worker wrote, as the end of a sentence."""
    words = worker.last_words()
    return f" Its last words: {words.splitlines()[-1]:.300}" if words else ""


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
