"""One worker process as its parent sees it: start, messages, memory, last words, end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from .isolation import ISOLATED, Isolation, interpreter_paths, launch_words, worker_environment

_MODULE: Final = "conch.model_repo_builder.worker"
_TAIL_BYTES: Final = 4000
_LARGEST_LOG_BYTES: Final = 16 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What runs a worker.

    Attributes:
        python: The interpreter.
        paths: Folders to put on its path, where it is not the one that runs conch; the first has
            conch's parts, see `conch_path`.
    """

    python: Path = Path(sys.executable)
    paths: tuple[Path, ...] = ()


PRESENT: Final = Interpreter()
"""The one that runs conch."""


class WorkerProcess:
    """A running worker, in a process group of its own, confined.

    Args:
        log: The file that its standard error is appended to.
        loaders: `module:mapping` of loaders to use instead of the built-in ones; empty for those.
        isolation: What to take away from it.
        interpreter: What runs it.

    Attributes:
        numbers: The user and group that it runs as; None where that is conch's own.
        scratch: A folder of its own, for temporary files and for handing over.
    """

    def __init__(
        self,
        log: Path,
        *,
        loaders: str = "",
        isolation: Isolation = ISOLATED,
        interpreter: Interpreter = PRESENT,
    ) -> None:
        wishes = isolation.wishes(interpreter_paths(interpreter.python, interpreter.paths))
        self.numbers: tuple[int, int] | None = None
        if wishes["user"] is not None:
            self.numbers = wishes["user"], wishes["group"]
        self.scratch = Path(tempfile.mkdtemp(prefix="conch-worker-"))
        temporary = self.scratch / "tmp"
        temporary.mkdir()
        if self.numbers is not None:
            self.scratch.chmod(0o755)
            os.chown(temporary, *self.numbers)
        environ = worker_environment(os.environ, temporary)
        if interpreter.paths:
            environ["PYTHONPATH"] = os.pathsep.join(map(str, interpreter.paths))
        program = [str(interpreter.python), "-P", "-m", _MODULE]
        program += ["--loaders", loaders] if loaders else []
        log.parent.mkdir(parents=True, exist_ok=True)
        too_large = log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES
        self._log = log
        with log.open("wb" if too_large else "ab") as stderr:
            self._mark = stderr.tell()
            self._process = subprocess.Popen(
                launch_words(wishes, program),
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, name="worker-messages", daemon=True).start()
        self.ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; a worker that is gone is noticed by `receive`."""
        self._mark = self._log.stat().st_size
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Return its next message; an empty one if none came in time; None if it has ended."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            if self.alive():
                return {}
        try:
            return self._messages.get_nowait()
        except queue.Empty:  # a process that a framework forked may keep the pipe open
            return None

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        """Return its resident memory with that of its children; 0 if it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.pid)
            total = 0
            for process in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
            return total
        return 0

    def stop(self) -> None:
        """End it and its children at once; its files stay. Idempotent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def kill(self) -> None:
        """End it and its children at once, and remove its files. Idempotent."""
        self.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def end(self) -> str:
        """Return how it ended, in words. Waits for an end that has begun."""
        code = self._process.wait()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with status {code}"

    def last_words(self) -> str:
        """Return the tail of what it wrote to standard error since the last message sent."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._mark, size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._messages.put(json.loads(line))
        self._messages.put(None)
