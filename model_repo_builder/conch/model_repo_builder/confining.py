"""Takes rights away from a process before it runs a stranger's model, then becomes that process.

Run as a file, `python confining.py '<wishes as JSON>' -- program arguments`, and not as a module:
the package would import ONNX Runtime, whose threads would keep what is taken away here.

What cannot be taken away on this machine is not, and said: `CONCH_CONFINEMENT` holds what was done
as JSON. Sources: unshare(2), user_namespaces(7), prctl(2), proc(5) on `oom_score_adj`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any, Final

RESULT: Final = "CONCH_CONFINEMENT"
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_NO_NEW_PRIVS: Final = 38
_FIRST_TO_KILL: Final = "700"
"""Of 1000: the kernel that runs out of memory ends the build, and not a model server."""


def confine(wishes: dict[str, Any]) -> dict[str, str]:
    """Take rights away from this process, which must have one thread.

    Args:
        wishes: `network`: whether to take the network away; `user` and `group`: numbers to become,
            None to stay, and then
            `why`.

    Returns:
        By right, an empty text where it was taken away, else why not.
    """
    found: dict[str, str] = {}
    found["network"] = _tried(_leave_network) if wishes.get("network") else "not asked for"
    if wishes.get("user") is not None:
        found["user"] = _tried(lambda: _become(int(wishes["user"]), int(wishes["group"])))
    else:
        found["user"] = str(wishes.get("why") or "not asked for")
    found["privileges"] = _tried(_no_new_privileges)
    _tried(_first_to_kill)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return found


def _leave_network() -> None:
    """Move into a network namespace of its own, which has no way out, not even to this machine."""
    if os.geteuid() == 0:
        _unshare(_CLONE_NEWNET)
        return
    user, group = os.getuid(), os.getgid()
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _become(user: int, group: int) -> None:
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _first_to_kill() -> None:
    _write("/proc/self/oom_score_adj", _FIRST_TO_KILL)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _tried(act: Callable[[], None]) -> str:
    try:
        act()
    except (OSError, AttributeError) as error:
        return str(error) or type(error).__name__
    return ""


def main() -> None:
    """Confine this process and become the program."""
    wishes, separator, *program = sys.argv[1:]
    assert separator == "--"
    os.environ[RESULT] = json.dumps(confine(json.loads(wishes)))
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
