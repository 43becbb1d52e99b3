"""A registered model's files: where they are, brought here whole, and read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

import yaml

from conch.core import InvalidValueError

from .errors import ArtifactMissingError, RegistryRefusedError
from .registered import FetchedModel, RegisteredVersion

MLMODEL: Final = "MLmodel"

_FRAMEWORKS: Final = (
    "onnx",
    "pytorch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "catboost",
    "keras",
    "tensorflow",
)
"""Flavours to build from, the most direct first, where a model has several."""


def bring(
    location: str,
    tracking_uri: str,
    into: Path,
    *,
    version: RegisteredVersion,
    metrics: Mapping[str, float],
) -> FetchedModel:
    """Copy a version's artifact folder to `into`, which appears whole or not at all.

    Args:
        location: The folder's own URI, such as `mlflow-artifacts:/1/models/m-1/artifacts`.
        tracking_uri: The server that hands out `mlflow-artifacts:` files.
        into: A path that does not exist, or an empty folder.
        version: Whose files they are.
        metrics: For the description that is returned.

    Raises:
        ArtifactMissingError: There is no `MLmodel` there.
        InvalidValueError: `into` holds something.
        RegistryRefusedError: A file lies outside the folder or is not a regular file, or
            `MLmodel` is not what MLflow writes.
    """
    if into.exists() and any(into.iterdir()):
        raise InvalidValueError(f"{into} is not empty.", hint="Give a folder of its own.")
    what = f"{version.name!r} version {version.number}"
    into.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
    try:
        local = _local_folder(location)
        if local is not None:
            _copy(local, stage, what)
        else:
            _pull(location, tracking_uri, stage)
        size_bytes = sum(path.stat().st_size for path in _files(stage, what))
        mlmodel = _described(stage, what, location)
        stage.chmod(0o755)
        stage.rename(into)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    flavors = tuple(sorted(mlmodel["flavors"]))
    return FetchedModel(
        path=into,
        flavors=flavors,
        mlmodel=mlmodel,
        size_bytes=size_bytes,
        framework=_framework(flavors),
        has_signature=mlmodel.get("signature") is not None,
        has_input_example=_has_example(into, mlmodel),
        metrics=metrics,
    )


def read_mlmodel(path: Path) -> dict[str, Any] | None:
    """Return the content of an `MLmodel` file, or None where it is not one."""
    try:
        content = yaml.load(path.read_text(), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("flavors"), dict):
        return None
    return content if content["flavors"] else None


def _described(folder: Path, what: str, location: str) -> dict[str, Any]:
    if not (folder / MLMODEL).is_file():
        raise ArtifactMissingError(
            f"{what} has no {MLMODEL} file at {location}.",
            hint="Its artifacts were deleted, or it was registered from another folder.",
        )
    mlmodel = read_mlmodel(folder / MLMODEL)
    if mlmodel is None:
        raise RegistryRefusedError(
            f"The {MLMODEL} file of {what} lists no flavours.",
            hint="Log the model again with MLflow.",
        )
    return mlmodel


def _pull(location: str, tracking_uri: str, stage: Path) -> None:
    """Fetch through MLflow, which lists each folder once and fetches files in parallel."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(location, tracking_uri=tracking_uri)
    repository.download_artifacts("", str(stage))


def _copy(source: Path, stage: Path, what: str) -> None:
    if not source.is_dir():
        raise ArtifactMissingError(f"{what} should be at {source}, which is no folder here.")
    for path in _files(source, what):
        target = stage / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _files(folder: Path, what: str) -> Iterator[Path]:
    """Yield the regular files below a folder; anything else but folders is refused."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise RegistryRefusedError(
                    f"{what} holds {path.relative_to(folder)}, which is a link or a special file.",
                    hint="Log the model again with plain files only.",
                )
            if path.is_file():
                yield path


def _local_folder(location: str) -> Path | None:
    """Return the folder of a location that is a path on this machine."""
    parsed = urlparse(location)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(location) if not parsed.scheme else None


def _framework(flavors: tuple[str, ...]) -> str:
    for framework in _FRAMEWORKS:
        if framework in flavors:
            return framework
    return next((flavor for flavor in flavors if flavor != "python_function"), "pyfunc")


def _has_example(path: Path, mlmodel: Mapping[str, Any]) -> bool:
    info = mlmodel.get("saved_input_example_info")
    return isinstance(info, dict) and (path / str(info.get("artifact_path", ""))).is_file()


# libyaml reads an MLmodel file ten times faster than the pure parser, and is not always there.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
