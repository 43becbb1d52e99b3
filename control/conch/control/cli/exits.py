"""Exit codes: what a script can tell without reading words."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from conch.core import ConchError


class Exit(IntEnum):
    """What the command line ends with; documented in docs/reference/cli.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    TIMED_OUT = 4


_BY_CODE: Final = {
    "not-running": Exit.NOT_RUNNING,
    "supervisor-missing": Exit.NOT_RUNNING,
    "wait-timed-out": Exit.TIMED_OUT,
    "cluster-unreachable": Exit.NOT_RUNNING,
    "cluster-slow": Exit.TIMED_OUT,
    "cluster-load-pending": Exit.TIMED_OUT,
    "cluster-weights-pending": Exit.TIMED_OUT,
}


def exit_of(error: ConchError) -> Exit:
    """Return the exit code of an error, by its stable code."""
    return _BY_CODE.get(error.code, Exit.FAILED)
