"""One worker process as its parent sees it: start, messages, memory, last words, end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import psutil

_MODULE: Final = "conch.model_repo_builder.worker"
_TAIL_BYTES: Final = 4000
_LARGEST_LOG_BYTES: Final = 16 * 1024**2


class WorkerProcess:
    """A running worker, in a process group of its own.

    Args:
        log: The file that its standard error is appended to.
        loaders: `module:mapping` of loaders to use instead of the built-in ones; empty for those.
    """

    def __init__(self, log: Path, *, loaders: str = "") -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        too_large = log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES
        self._log = log
        with log.open("wb" if too_large else "ab") as stderr:
            self._mark = stderr.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, *(["--loaders", loaders] if loaders else [])],
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
            return {}

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

    def kill(self) -> None:
        """End it and its children at once. Idempotent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

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
