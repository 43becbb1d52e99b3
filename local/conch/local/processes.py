"""Operating system processes that outlive their supervisor, and are found again.

A process carries its home and name in its environment, which its own children inherit; so what it
leaves behind is found by asking every process who it belongs to, not by guessing from names.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from .identities import Identity, identify, runs

_HOME: Final = "CONCH_SUPERVISED_HOME"
_NAME: Final = "CONCH_SUPERVISED_NAME"
_NO_FAULT: Final = {
    "exit status 0",
    *(f"killed by {name}" for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")),
}
_SHARED_MEMORY: Final = Path("/dev/shm")


class Processes:
    """The processes of one home.

    Args:
        home: The home's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._ended: dict[Identity, str] = {}

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        log: Path,
    ) -> Identity:
        """Start a process in a session of its own, so that no signal to us reaches it.

        Raises:
            OSError: The program cannot be started.
        """
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(argv),
                env={**environment, _HOME: self._home, _NAME: name},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[child.pid] = child
        identity = identify(child.pid)
        assert identity is not None, "a child keeps its number until it is waited for"
        return identity

    def exit_reason(self, identity: Identity) -> str | None:
        """Return how a process ended; None while it runs."""
        child = self._children.get(identity.pid)
        if child is not None:
            code = child.poll()
            if code is None:
                return None
            del self._children[identity.pid]
            self._ended[identity] = _words(code)
        if (reason := self._ended.get(identity)) is not None:
            return reason
        if self._is_ours(identity):
            return None
        return "ended while no supervisor watched, so its exit status is unknown"

    def terminate(self, identity: Identity) -> None:
        """Send SIGTERM, if it is still the same process."""
        if self.exit_reason(identity) is None:
            _signal(identity.pid, signal.SIGTERM)

    def kill(self, name: str, identity: Identity | None) -> None:
        """Send SIGKILL to a process and to everything that it started."""
        if identity is not None and self.exit_reason(identity) is None:
            _signal(identity.pid, signal.SIGKILL)
        self.sweep(lambda found, pid: found == name)

    def sweep(self, belongs: Callable[[str, int], bool]) -> list[int]:
        """Kill the processes of this home for which `belongs(name, pid)`; return their pids."""
        ended = []
        for process in psutil.process_iter():
            try:
                marks = process.environ()
                if marks.get(_HOME) != self._home or process.pid == os.getpid():
                    continue
                if belongs(marks.get(_NAME, ""), process.pid):
                    process.kill()
                    ended.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return ended

    def _is_ours(self, identity: Identity) -> bool:
        try:
            marked = psutil.Process(identity.pid).environ().get(_HOME) == self._home
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return marked and runs(identity)


def own_fault(reason: str) -> bool:
    """Tell from how a process ended whether it crashed.

    One that was killed did not, whether by a person or by a kernel without memory; nor did one
    whose end nobody saw.
    """
    return reason.startswith(("killed by ", "exit status ")) and reason not in _NO_FAULT


def clear_shared_memory(prefix: str) -> None:
    """Remove the shared memory that a killed Triton server left behind."""
    for path in _SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _words(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
