"""What a Triton offers: its backends, and so which flavour of a build it can serve.

A build's folder has flavours: `portable` runs with the Python backend of any Triton, `native` with
the backend that its configuration names. A runtime that has that backend serves the native one.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Final

from conch.core import ConchError, TritonName
from conch.triton_configs import parse

from .errors import BuildIncompleteError
from .runtime import Runtime
from .settings import LocalSettings

PYTHON: Final = "python"
CONFIG: Final = "config.pbtxt"


class Flavour(StrEnum):
    """A form in which a build can be served; the name of its folder within the build's."""

    NATIVE = "native"
    PORTABLE = "portable"


def installed_backends(directory: Path) -> frozenset[str]:
    """Return the backends in a Triton's backend directory, by name; none where there is no such.

    A backend is a folder with its library `libtriton_<name>.so`, or with the `model.py` of one
    that is written in Python.
    """
    return frozenset(
        folder.name
        for folder in (directory.iterdir() if directory.is_dir() else ())
        if (folder / f"libtriton_{folder.name}.so").exists() or (folder / "model.py").exists()
    )


def backend_directory(settings: LocalSettings, runtime: Runtime) -> Path:
    """Return where the supervised servers find their backends.

    Of a server that is given by path that is the folder `backends` beside its `bin`, where Triton's
    images have it, unless the settings say otherwise.
    """
    if settings.backend_directory is not None:
        return settings.backend_directory
    if settings.tritonserver is None:
        return runtime.backends
    return settings.tritonserver.parent.parent / "backends"


def runs_natively(backends: Collection[str]) -> bool:
    """Tell whether a Triton has other backends than the Python one."""
    return any(name != PYTHON for name in backends)


def flavour_of(build: Path, model: TritonName, backends: Collection[str]) -> Flavour:
    """Return which flavour of a build a Triton serves: the native one if it has its backend.

    Args:
        build: The build's folder.
        model: The model on the wire.
        backends: What the Triton offers.

    Raises:
        BuildIncompleteError: The build has no flavour for it; the message names both.
    """
    needs: dict[Flavour, str] = {}
    for flavour in Flavour:
        path = build / flavour / model / CONFIG
        if not path.is_file():
            continue
        backend = PYTHON if flavour is Flavour.PORTABLE else _backend(path)
        if backend in backends:
            return flavour
        needs[flavour] = backend
    has = ", ".join(f"{flavour} (backend {backend})" for flavour, backend in needs.items())
    raise BuildIncompleteError(
        f"Build {build} has {has or f'no {CONFIG} of {model}'}, and this Triton offers "
        f"{', '.join(sorted(backends)) or 'no backend'}.",
        hint="Serve it with a Triton that has the backend, or build the model again.",
    )


def _backend(config: Path) -> str:
    try:
        found = parse(config.read_text(encoding="utf-8"))
    except ConchError as error:
        raise BuildIncompleteError(f"{config} cannot be read: {error.message}") from error
    return found.backend or found.platform.partition("_")[0]
