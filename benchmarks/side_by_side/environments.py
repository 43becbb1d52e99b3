"""Virtual environments of the servers that conch is compared with, named by what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MARKER: Final = "installed"
_TIMEOUT_S: Final = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One environment.

    Attributes:
        requirements: pip requirements, the server pinned exactly.
        python: The interpreter that it is made with.
    """

    requirements: tuple[str, ...]
    python: str = sys.executable

    @property
    def digest(self) -> str:
        """Its name: changes with the requirements and with Python's version and place."""
        made_of = [*self.requirements, *sys.version_info[:3], sys.base_prefix]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return cache_root() / self.digest

    def program(self, name: str) -> Path:
        """Return the path of one of its programs."""
        return self.folder / "bin" / name

    def install(self, *, progress: Callable[[str], None] = lambda line: None) -> None:
        """Install it unless that was done before.

        Raises:
            RuntimeError: pip failed; its last words.
        """
        if (self.folder / _MARKER).is_file():
            return
        progress(f"Installing {', '.join(self.requirements)} into {self.folder} ...")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        _run([self.python, "-m", "venv", str(self.folder)])
        pip = [str(self.program("python")), "-m", "pip", "install", "--quiet"]
        _run([*pip, "--disable-pip-version-check", "--only-binary=:all:", *self.requirements])
        (self.folder / _MARKER).write_text("\n".join(self.requirements) + "\n")


def cache_root() -> Path:
    """Return the folder of all these environments of this user."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "conch" / "bench"


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv[:4])} failed: {done.stderr.strip()[-1500:]}")
