"""What a model was logged with, and whether what is installed here is near enough to load it.

Pickles hold the insides of library objects. Another version of the library loads them without an
error and answers otherwise, or fails with an error that nobody understands. MLflow records versions
beside every model (`requirements.txt`, `python_env.yaml`); pickled models and Python models are
loaded with those.

The rule: the present environment serves where it has the recorded Python's major and minor version,
and every recorded package in a version of the same major and minor number (`1.9.0` and `1.9.1`);
a requirement that names no single version has to be met as it is written.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .errors import CorruptArtefactError, EnvironmentFailedError
from .torch_modules import is_torchscript

Installed = Callable[[str], str | None]
"""From a distribution's name to its installed version; None where it is absent."""

_CODE: Final = frozenset({".py", ".pkl", ".pickle", ".cloudpickle", ".joblib", ".pth"})
_SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "mlflow": ("mlflow", "mlflow-skinny"),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "xgboost": ("xgboost", "xgboost-cpu"),
}
"""Distributions that install the same modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a model was logged with.

    Attributes:
        python: Version of Python, such as `3.11.7`; empty where none was recorded.
        lines: Requirements as they were written, sorted.
    """

    python: str
    lines: tuple[str, ...]

    @property
    def minor(self) -> str:
        """Major and minor version of Python; this one's where none was recorded."""
        return _minor(self.python or platform.python_version())


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether the present environment loads a model.

    Attributes:
        differences: What is too far from what was recorded; empty if nothing is.
        note: The finding in one sentence, for the report.
    """

    differences: tuple[str, ...]
    note: str

    @property
    def near(self) -> bool:
        """Whether the present environment is near enough."""
        return not self.differences


def holds_code(folder: Path) -> bool:
    """Tell whether a model's folder holds something that is code when it is loaded."""
    return any(
        path.suffix in _CODE and not is_torchscript(path)
        for path in folder.rglob("*")
        if path.is_file()
    )


def read_recorded(folder: Path) -> Recorded | None:
    """Read what MLflow recorded beside a model; None where it recorded nothing.

    Raises:
        CorruptArtefactError: A file cannot be read.
        EnvironmentFailedError: A requirement is something other than a package by its name.
    """
    requirements, python = folder / "requirements.txt", ""
    if not requirements.is_file():
        return None
    try:
        lines = requirements.read_text(encoding="utf-8").splitlines()
        if (folder / "python_env.yaml").is_file():
            value = yaml.safe_load((folder / "python_env.yaml").read_text(encoding="utf-8"))
            python = str(value.get("python", "")) if isinstance(value, dict) else ""
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CorruptArtefactError(
            f"The requirements of {folder.name!r} cannot be read: {error}",
            hint="Log the model again, or check that the download was complete.",
        ) from error
    kept = sorted({line.partition(" #")[0].strip() for line in lines} - {""})
    wanted = tuple(line for line in kept if not line.startswith("#"))
    for line in wanted:
        _requirement(line)
    return Recorded(python=python, lines=wanted)


def judge(recorded: Recorded, *, python: str, installed: Installed) -> Judgement:
    """Apply the rule above.

    Args:
        recorded: What the model was logged with.
        python: This Python's version.
        installed: What is installed here.
    """
    differences = []
    if recorded.minor != _minor(python):
        differences.append(f"Python {recorded.python} was recorded, {python} is here")
    for line in recorded.lines:
        wanted = _requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        name = canonicalize_name(wanted.name)
        found = next((v for v in map(installed, _SAME.get(name, (name,))) if v is not None), None)
        if found is None:
            differences.append(f"{line} was recorded, none is here")
        elif not _near(wanted, found):
            differences.append(f"{line} was recorded, {found} is here")
    if differences:
        return Judgement(differences=tuple(differences), note="; ".join(differences))
    return Judgement(
        differences=(),
        note="what is installed here is of the recorded major and minor versions: "
        + (", ".join(recorded.lines) or "nothing was recorded"),
    )


def installed_version(name: str) -> str | None:
    """Return the version of a distribution of this process's interpreter."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _near(wanted: Requirement, found: str) -> bool:
    pins = [item for item in wanted.specifier if item.operator == "=="]
    if len(pins) == 1 and len(wanted.specifier) == 1 and "*" not in pins[0].version:
        try:
            return Version(pins[0].version).release[:2] == Version(found).release[:2]
        except InvalidVersion:
            return pins[0].version == found
    return wanted.specifier.contains(found, prereleases=True)


def _requirement(line: str) -> Requirement:
    try:
        found = Requirement(line)
    except InvalidRequirement as error:
        raise _refused(line) from error
    if found.url is not None:
        raise _refused(line)
    return found


def _refused(line: str) -> EnvironmentFailedError:
    return EnvironmentFailedError(
        f"The model's recorded requirement {line[:200]!r} is not a package by its name.",
        hint="conch installs packages from the index only: no files, no addresses, no options. "
        "Log modules of your own with code_paths.",
    )


def _minor(version: str) -> str:
    return ".".join(re.findall(r"\d+", version)[:2])
