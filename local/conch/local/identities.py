"""Telling a process from another that was later given its number, whatever the clock does.

The usual answer, the time at which a process began, is computed from the time at which the machine
booted, and the kernel moves that whenever somebody sets the clock. The count of clock ticks between
boot and start never moves; with the identity of the boot it also survives a reboot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STATE: Final = 0
_STARTTIME: Final = 19
"""Places behind the command's closing parenthesis in `/proc/PID/stat`: fields 3 and 22, proc(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process beyond doubt.

    Attributes:
        pid: Its number.
        started: Ticks since boot at which it began, and the boot, as `TICKS@BOOT`.
    """

    pid: int
    started: str


def identify(pid: int) -> Identity | None:
    """Return the identity of a process, ended or not; None where no process has this number."""
    fields = _stat(pid)
    if fields is None:
        return None
    return Identity(pid=pid, started=f"{fields[_STARTTIME]}@{_boot()}")


def runs(identity: Identity) -> bool:
    """Tell whether just this process runs; one that ended and was not waited for does not."""
    fields = _stat(identity.pid)
    if fields is None or fields[_STATE] in ("Z", "X"):
        return False
    return f"{fields[_STARTTIME]}@{_boot()}" == identity.started


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command stands in parentheses and may itself contain spaces and parentheses.
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
