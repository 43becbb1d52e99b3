"""What a build worker may touch: its rights, its variables, and the folder that it works in.

Three things a stranger's model must not get even where it is trusted to run: the network, the
credentials in this process's environment, and, where conch runs as root, root's files. How much of
it this machine can enforce is found out once and said in every manifest.
"""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from .confining import RESULT

_LAUNCHER: Final = Path(__file__).with_name("confining.py")
_PASSED: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ")
_PASSED_PREFIXES: Final = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "TF_", "KMP_")
_PROBE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What to take away from a worker.

    Attributes:
        network: Whether to take the network away.
        user: The user to become where conch runs as root; empty to stay.
    """

    network: bool = True
    user: str = "nobody"

    def wishes(self, needed: Iterable[Path]) -> dict[str, Any]:
        """Return what to ask of the launcher, see `confining.confine`.

        Args:
            needed: What the worker has to read; a user who cannot would be of no use.
        """
        found: dict[str, Any] = {"network": self.network, "user": None, "group": None}
        if not self.user:
            found["why"] = "nobody asked for it"
        elif os.geteuid() != 0:
            found["why"] = "conch is not root"
        elif closed := [str(path) for path in needed if not readable_by_all(path)]:
            found["why"] = f"other users cannot read {closed[0]}"
        else:
            try:
                entry = pwd.getpwnam(self.user)
                found["user"], found["group"] = entry.pw_uid, entry.pw_gid
            except KeyError:
                found["why"] = f"there is no user {self.user!r}"
        return found


ISOLATED: Final = Isolation()
"""All of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """What was taken away from a worker.

    Attributes:
        gaps: What was not, and why, one sentence each.
        said: All of it in one sentence, for the manifest.
    """

    gaps: tuple[str, ...]
    said: str

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Read what the launcher left in the environment; None where there was no launcher."""
        if text is None:
            said = "the build ran in the process that asked for it, with all of its rights"
            return cls(gaps=(said,), said=said)
        done: Mapping[str, str] = json.loads(text)
        taken = {
            "network": "no network",
            "user": "a user of its own",
            "privileges": "no way to more rights",
        }
        gaps = tuple(
            f"without {words}: {done.get(name) or 'not asked for'}"
            for name, words in taken.items()
            if done.get(name, "-")
        )
        kept = [words for name, words in taken.items() if done.get(name, "-") == ""]
        return cls(gaps=gaps, said="; ".join([", ".join(kept) or "nothing taken away", *gaps]))


def launch_words(wishes: Mapping[str, Any], program: list[str]) -> list[str]:
    """Return the command line that confines itself and becomes a program."""
    return [sys.executable, "-P", "-S", str(_LAUNCHER), json.dumps(wishes), "--", *program]


def worker_environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the variables of a worker: what programs need to run, and none of conch's secrets."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    return {
        "PATH": os.defpath,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.29 and later; a recorded one may be
        **kept,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "USER": "conch-build",
        "LOGNAME": "conch-build",
    }


def readable_by_all(path: Path) -> bool:
    """Tell whether every user may read a file or folder, by the permissions of all above it."""
    resolved = path.resolve()
    try:
        wanted = stat.S_IROTH | (stat.S_IXOTH if resolved.is_dir() else 0)
        if resolved.stat().st_mode & wanted != wanted:
            return False
        return all(folder.stat().st_mode & stat.S_IXOTH for folder in resolved.parents)
    except OSError:
        return False


def interpreter_paths(python: Path, paths: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """Return what a worker has to read.

    Args:
        python: Its interpreter.
        paths: What is put on its path, where it is not the interpreter that runs conch.
    """
    if python != Path(sys.executable):
        return (python, *paths)
    entries = [*sys.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    folders = [Path(entry) for entry in entries if entry and Path(entry).is_dir()]
    return (python, Path(sys.base_prefix), *folders)


@cache
def isolation_gaps(isolation: Isolation = ISOLATED) -> tuple[str, ...]:
    """Find out what cannot be taken away from a worker on this machine, by trying it once."""
    wishes = isolation.wishes(interpreter_paths(Path(sys.executable)))
    code = f"import os; print(os.environ[{RESULT!r}])"
    words = launch_words(wishes, [sys.executable, "-S", "-c", code])
    try:
        done = subprocess.run(
            words,
            env=worker_environment(os.environ, Path(tempfile.gettempdir())),
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return (f"a confined process does not start: {error}",)
    return Confined.read(done.stdout.strip()).gaps
