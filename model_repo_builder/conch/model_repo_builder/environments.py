"""Environments made from what models were logged with: built once, shared, locked, pruned.

One folder per digest of Python's version and the requirements:

    <digest>/venv/             the virtual environment
    <digest>/complete.json     written last; without it the folder is the rest of an attempt
    <digest>.lock              exclusive while it is made or removed, shared while it is used
    <digest>.used-by/          one file per build that serves from it, holding the build's path

Only wheels are installed (`--only-binary=:all:`): building a package would run code of its own,
with the network. conch itself is not installed: a folder of links to the three parts that build is
put on the path, so that the worker there is the code that is here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import BuildCancelledError, EnvironmentFailedError
from .recorded_requirements import Recorded

Progress = Callable[[str], None]

BUILDER: Final = (
    "numpy",
    "onnx",
    "onnxruntime",
    "packaging",
    "psutil",
    "pyyaml",
    "tritonclient",
    "xxhash",
)
"""What the worker needs in every environment, in whatever version suits what was recorded."""

ALONGSIDE: Final = {
    "scikit-learn": ("pandas", "skl2onnx", "skops"),
    "torch": ("onnxscript",),
    "tensorflow": ("tf2onnx",),
    "lightgbm": ("scikit-learn", "pandas", "skl2onnx", "skops"),
    "xgboost": ("scikit-learn", "pandas", "skl2onnx", "skops"),
}
"""What conversion needs beside a framework."""

_PARTS: Final = ("conch.core", "conch.triton_configs", "conch.model_repo_builder")
_MARKER: Final = "complete.json"
_MAKING_S: Final = 1800.0
_POLL_S: Final = 0.2
_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A finished environment.

    Attributes:
        path: Its folder.
        python: Its interpreter.
    """

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "venv" / "bin" / "python"

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep it from being removed, and note the time."""
        with _locked(_lock_of(self.path), fcntl.LOCK_SH):
            (self.path / _MARKER).touch()
            yield

    def keep_for(self, build: Path) -> None:
        """Keep it for as long as a build's folder exists."""
        folder = self.path.with_suffix(".used-by")
        folder.mkdir(exist_ok=True)
        name = hashlib.sha256(str(build).encode()).hexdigest()[:16]
        (folder / name).write_text(str(build))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An environment as pruning sees it.

    Attributes:
        unused_s: Seconds since its last use.
        size_bytes: Its size.
        needed: Whether a build serves from it.
    """

    path: Path
    unused_s: float
    size_bytes: int
    needed: bool


def environments_root() -> Path:
    """Return the folder of all environments of this user.

    Root's is not below its home, which the user that builds for root cannot enter.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return Path(cache) / "conch" / "environments"
    if os.geteuid() == 0:
        return Path("/var/cache/conch/environments")
    return Path.home() / ".cache" / "conch" / "environments"


def requirements_of(recorded: Recorded) -> tuple[str, ...]:
    """Return all that is installed for a model: what was recorded, and what the worker needs."""
    named = {
        line.split("=")[0].split("<")[0].split(">")[0].strip().lower() for line in recorded.lines
    }
    beside = [more for name in named for more in ALONGSIDE.get(name, ())]
    return (*recorded.lines, *sorted({*BUILDER, *beside} - named))


def digest_of(recorded: Recorded) -> str:
    """Return the name of a model's environment."""
    facts = [recorded.minor, platform.machine(), *requirements_of(recorded)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def ensure(
    recorded: Recorded,
    *,
    root: Path,
    progress: Progress = lambda line: None,
    cancelled: Callable[[], bool] = lambda: False,
    limit_s: float = _MAKING_S,
) -> Environment:
    """Return the environment of a model, made where it is not there yet.

    Two callers at once do not collide: the second waits and finds the work done.

    Args:
        recorded: What the model was logged with.
        root: See `environments_root`.
        progress: Takes one line for each step.
        cancelled: Asked some five times per second; true ends the making.
        limit_s: Seconds for all of it.

    Raises:
        EnvironmentFailedError: There is no such Python here, or pip failed: with its last words.
        BuildCancelledError: `cancelled` said so.
    """
    found = Environment(path=root / digest_of(recorded))
    root.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + limit_s

    def go_on() -> None:
        if cancelled():
            raise BuildCancelledError("The build was cancelled while its environment was made.")
        if time.monotonic() > deadline:
            raise EnvironmentFailedError(
                f"The model's environment was not made within {limit_s:g} seconds.",
                hint="Check that the package index answers; the build can be asked for again.",
            )

    with _locked(_lock_of(found.path), fcntl.LOCK_EX, while_waiting=go_on):
        if (found.path / _MARKER).is_file():
            return found
        interpreter = _interpreter(recorded)
        shutil.rmtree(found.path, ignore_errors=True)
        found.path.mkdir()
        wanted = requirements_of(recorded)
        listed = found.path / "requirements.txt"
        listed.write_text("\n".join(wanted) + "\n")
        log = found.path / "pip.log"
        progress(f"making an environment of Python {recorded.minor}")
        _run([interpreter, "-m", "venv", str(found.path / "venv")], log, go_on)
        progress(f"installing {len(recorded.lines)} recorded packages and what conversion needs")
        pip = [str(found.python), "-m", "pip", "install", "--disable-pip-version-check"]
        quiet = ["--progress-bar", "off", "--only-binary=:all:", "--requirement", str(listed)]
        _run([*pip, *quiet], log, go_on)
        size = sum(path.lstat().st_size for path in found.path.rglob("*"))
        marker = {"requirements": wanted, "size_bytes": size}
        (found.path / _MARKER).write_text(json.dumps(marker, indent=1))
        return found


def conch_path(root: Path) -> Path:
    """Return a folder to put on another interpreter's path, which holds conch's building parts.

    Links to the three parts and nothing else: whatever else is installed beside conch here stays
    out of sight there.
    """
    places = {name: Path(str(importlib.import_module(name).__file__)).parent for name in _PARTS}
    facts = json.dumps(sorted(map(str, places.values())))
    folder = root / f"conch-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    with _locked(_lock_of(folder), fcntl.LOCK_EX):
        for name, place in places.items():
            link = folder / name.replace(".", "/")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(place)
    return folder


def look(root: Path, *, now: float) -> tuple[Kept, ...]:
    """Look at the finished environments, the longest unused first."""
    found = []
    for marker in root.glob(f"*/{_MARKER}"):
        with contextlib.suppress(OSError, ValueError):
            value = json.loads(marker.read_text())
            users = marker.parent.with_suffix(".used-by")
            needed = users.is_dir() and any(Path(u.read_text()).exists() for u in users.iterdir())
            found.append(
                Kept(
                    path=marker.parent,
                    unused_s=now - marker.stat().st_mtime,
                    size_bytes=int(value["size_bytes"]),
                    needed=needed,
                )
            )
    return tuple(sorted(found, key=lambda one: -one.unused_s))


def superfluous(
    kept: tuple[Kept, ...], *, unused_s: float = 30 * _DAY_S, largest_bytes: int = 20 * 2**30
) -> tuple[Path, ...]:
    """Choose what to remove: what nobody used for long, then the longest unused above a size. Pure.

    What a build serves from is never chosen.
    """
    gone = [one.path for one in kept if not one.needed and one.unused_s > unused_s]
    total = sum(one.size_bytes for one in kept if one.path not in gone)
    for one in kept:
        if total > largest_bytes and not one.needed and one.path not in gone:
            gone.append(one.path)
            total -= one.size_bytes
    return tuple(gone)


def remove(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Remove environments that nobody uses at the moment; return those."""
    removed = []
    for path in paths:
        with (
            contextlib.suppress(BlockingIOError),
            _locked(_lock_of(path), fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            (path / _MARKER).unlink(missing_ok=True)  # first: half of one is none
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(path.with_suffix(".used-by"), ignore_errors=True)
            removed.append(path)
    return tuple(removed)


def _interpreter(recorded: Recorded) -> str:
    if recorded.minor == ".".join(platform.python_version_tuple()[:2]):
        return sys.executable
    found = shutil.which(f"python{recorded.minor}")
    if found is None:
        raise EnvironmentFailedError(
            f"The model was logged with Python {recorded.python}, and there is no "
            f"python{recorded.minor} here.",
            hint="Install that Python where conch runs, or log the model with this one: "
            f"{platform.python_version()}.",
        )
    return found


def _run(words: list[str], log: Path, go_on: Callable[[], None]) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW_"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env=environ, start_new_session=True
        )
    try:
        while True:
            go_on()
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_POLL_S)
                break
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        raise
    if code:
        said = log.read_text(errors="replace").strip().splitlines()
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise EnvironmentFailedError(
            f"The model's environment cannot be made; pip's last words: {errors[-1]:.400}",
            hint="The recorded versions may be gone from the index, need a compiler, or exclude "
            "each other. Log the model with versions that install from wheels.",
            last_words="\n".join(said[-40:]),
        )


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


@contextmanager
def _locked(
    path: Path, kind: int, *, while_waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if while_waiting is None:
            fcntl.flock(file, kind)
        else:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                    break
                while_waiting()
                time.sleep(_POLL_S)
        yield
