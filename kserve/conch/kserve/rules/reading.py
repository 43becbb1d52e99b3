"""Reading fields of documents that may be wrong in any way.

A rule runs even where the schema has already found faults, so nothing here raises on a value of the
wrong type: it reads as absent, and the schema's own finding stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Fields = Mapping[str, Any]

FRAMEWORKS: Final = (
    "huggingface",
    "lightgbm",
    "onnx",
    "paddle",
    "pmml",
    "pytorch",
    "sklearn",
    "tensorflow",
    "triton",
    "xgboost",
)
"""Predictor fields from before `model`; KServe's mutating webhook rewrites them."""


def at(value: object, *path: str | int) -> object:
    """Return what stands at a path below a value, or None."""
    for part in path:
        if isinstance(part, str) and isinstance(value, dict):
            value = value.get(part)
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def fields(value: object) -> Fields:
    """Return an object's fields; none for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return a list's items; none for anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """Return a string; "" for anything else."""
    return value if isinstance(value, str) else ""


def integer(value: object) -> int | None:
    """Return an integer; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def implementation(predictor: Fields) -> tuple[str, Fields]:
    """Return the one framework or `model` of a predictor, or ("", {})."""
    for name in ("model", *FRAMEWORKS):
        if isinstance(predictor.get(name), dict):
            return name, fields(predictor[name])
    return "", {}


def storage_uri(predictor: Fields) -> str:
    """Return the storage URI of a predictor's model, or ""."""
    return text(implementation(predictor)[1].get("storageUri"))
