"""Reading an MLflow model folder without importing MLflow: flavours, signature, input example.

The format is MLflow's own (`MLmodel`, YAML); only what a build needs is read. Reading it here keeps
MLflow, pandas and their seconds of imports out of the worker that builds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from conch.core import DType

from .errors import CorruptArtefactError

_COLUMN_TYPES: Final = {
    "boolean": DType.BOOL,
    "integer": DType.INT32,
    "long": DType.INT64,
    "float": DType.FP32,
    "double": DType.FP64,
    "string": DType.BYTES,
    "binary": DType.BYTES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTensor:
    """One tensor or column of MLflow's signature.

    Attributes:
        name: Its name; empty for a single unnamed tensor.
        dtype: Element type.
        shape: All dimensions, the batch first, -1 where any size is taken; None for a column.
        optional: Whether a caller may leave it out.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...] | None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowModel:
    """A downloaded MLflow model.

    Attributes:
        path: The folder that holds `MLmodel`.
        flavours: Each flavour's settings by its name.
        inputs: The signature's inputs; None where the model has no signature.
        outputs: The signature's outputs; None where the signature has none.
        example: The input example by input name (empty name for a single unnamed array), as
            logged; None where there is none that can be read as arrays.
        mlflow_version: The MLflow that wrote it.
        metadata: What whoever logged it wrote beside it.
        trusted: Whether the operator lets code that is stored in the model run.
    """

    path: Path
    flavours: Mapping[str, Mapping[str, Any]]
    inputs: tuple[DeclaredTensor, ...] | None
    outputs: tuple[DeclaredTensor, ...] | None
    example: Mapping[str, np.ndarray] | None
    mlflow_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = False

    def file(self, relative: str) -> Path:
        """Return a path within the model's folder.

        Raises:
            CorruptArtefactError: It does not exist, or lies outside the folder.
        """
        root = self.path.resolve()
        found = (root / relative).resolve()
        if not found.is_relative_to(root):
            raise CorruptArtefactError(
                f"{relative!r} lies outside the model folder {self.path}.",
                hint="Log the model again; a model folder must hold all of its own files.",
            )
        if not found.exists():
            raise CorruptArtefactError(
                f"{relative!r} is missing from the model folder {self.path}.",
                hint="Log the model again, or check that the download was complete.",
            )
        return found


def read_mlflow_model(path: Path, *, trusted: bool = False) -> MlflowModel:
    """Read the folder of one MLflow model.

    Args:
        path: The folder that holds `MLmodel`.
        trusted: See `MlflowModel`.

    Raises:
        CorruptArtefactError: `MLmodel` or a file that it names cannot be read.
    """
    try:
        value = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
        signature = value.get("signature") or {}
        return MlflowModel(
            path=path,
            flavours={name: config or {} for name, config in value["flavors"].items()},
            inputs=_declared(signature.get("inputs")),
            outputs=_declared(signature.get("outputs")),
            example=_example(path, value.get("saved_input_example_info")),
            mlflow_version=str(value.get("mlflow_version", "")),
            metadata=dict(value.get("metadata") or {}),
            trusted=trusted,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CorruptArtefactError(
            f"{path} cannot be read as an MLflow model: {type(error).__name__}: {error}.",
            hint="The folder must hold the MLmodel file that MLflow wrote, and all it names.",
        ) from error


def _declared(text: str | None) -> tuple[DeclaredTensor, ...] | None:
    if text is None:
        return None
    return tuple(_tensor(item) for item in json.loads(text))


def _tensor(item: dict[str, Any]) -> DeclaredTensor:
    name = str(item.get("name", ""))
    optional = not item.get("required", True)
    if item["type"] == "tensor":
        spec = item["tensor-spec"]
        return DeclaredTensor(
            name=name,
            dtype=DType.from_numpy(spec["dtype"]),
            shape=tuple(int(size) for size in spec["shape"]),
            optional=optional,
        )
    if item["type"] not in _COLUMN_TYPES:
        raise ValueError(f"column {name!r} is of type {item['type']!r}")
    return DeclaredTensor(
        name=name, dtype=_COLUMN_TYPES[item["type"]], shape=None, optional=optional
    )


def _example(path: Path, info: dict[str, Any] | None) -> dict[str, np.ndarray] | None:
    if info is None or info["type"] not in ("ndarray", "dataframe"):
        return None
    value = json.loads((path / info["artifact_path"]).read_text(encoding="utf-8"))
    if info["type"] == "dataframe":
        columns = zip(*value["data"], strict=True)
        return {
            str(name): np.asarray(column)
            for name, column in zip(value["columns"], columns, strict=True)
        }
    if isinstance(value, dict):
        value = value.get("inputs", value)
    if isinstance(value, dict):
        return {str(name): np.asarray(array) for name, array in value.items()}
    return {"": np.asarray(value)}
