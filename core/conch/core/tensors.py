"""Tensors as a model server names them: data types, shapes, signatures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import InvalidValueError

DYNAMIC = -1
"""A dimension whose size is known only with the request."""


class DType(StrEnum):
    """Element types under their Open Inference Protocol names.

    Source: Open Inference Protocol v2, "Tensor Data Types"; Triton's `model_config.proto` has the
    same set with a `TYPE_` prefix and calls BYTES `TYPE_STRING`.
    """

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"

    @property
    def triton(self) -> str:
        """The name in a Triton `config.pbtxt`, such as `TYPE_FP32`."""
        return "TYPE_STRING" if self is DType.BYTES else f"TYPE_{self.value}"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype that carries it; BYTES is `object`.

        Raises:
            InvalidValueError: NumPy has no such type (BF16).
        """
        if self is DType.BF16:
            raise InvalidValueError("NumPy has no bfloat16.", hint="Use FP32 at the boundary.")
        return np.dtype(_NUMPY[self])

    @classmethod
    def from_numpy(cls, dtype: DTypeLike) -> DType:
        """Return the protocol type for a NumPy dtype.

        Raises:
            InvalidValueError: No protocol type corresponds (complex, datetime, structured).
        """
        found = np.dtype(dtype)
        if found.kind in "OSU":
            return cls.BYTES
        for name, candidate in _NUMPY.items():
            if name is not DType.BYTES and np.dtype(candidate) == found:
                return name
        raise InvalidValueError(
            f"NumPy type {found} has no Open Inference Protocol type.",
            hint="Convert the column before the model, for instance datetimes to INT64 seconds.",
        )

    @classmethod
    def from_triton(cls, name: str) -> DType:
        """Return the type for a `config.pbtxt` name such as `TYPE_FP32`."""
        bare = name.removeprefix("TYPE_")
        return cls.BYTES if bare == "STRING" else cls(bare)


_NUMPY: dict[DType, str] = {
    DType.BOOL: "bool",
    DType.UINT8: "uint8",
    DType.UINT16: "uint16",
    DType.UINT32: "uint32",
    DType.UINT64: "uint64",
    DType.INT8: "int8",
    DType.INT16: "int16",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FP16: "float16",
    DType.FP32: "float32",
    DType.FP64: "float64",
    DType.BYTES: "object",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The tensor's name on the wire.
        dtype: Its element type.
        shape: Dimensions *without* the batch dimension; `DYNAMIC` (-1) where any size is taken.
        optional: Whether a request may leave it out.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidValueError("A tensor needs a name.")
        if any(size < 0 and size != DYNAMIC for size in self.shape):
            raise InvalidValueError(
                f"Tensor {self.name!r} has shape {list(self.shape)}: a dimension is a size or -1."
            )

    def accepts(self, shape: Iterable[int]) -> bool:
        """Tell whether an array of this shape (without the batch dimension) fits."""
        found = tuple(shape)
        return len(found) == len(self.shape) and all(
            want in (DYNAMIC, have) for want, have in zip(self.shape, found, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "name": self.name,
            "dtype": self.dtype.value,
            "shape": list(self.shape),
            "optional": self.optional,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TensorSpec:
        """Read what `as_dict` wrote."""
        return cls(
            name=value["name"],
            dtype=DType(value["dtype"]),
            shape=tuple(value["shape"]),
            optional=bool(value.get("optional", False)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and returns.

    Attributes:
        inputs: Input tensors in the model's own order.
        outputs: Output tensors in the model's own order.
        batched: Whether every tensor has a leading batch dimension that `shape` leaves out.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool = True

    def __post_init__(self) -> None:
        for side, tensors in (("input", self.inputs), ("output", self.outputs)):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise InvalidValueError(f"Two {side}s share a name: {names}.")

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "inputs": [tensor.as_dict() for tensor in self.inputs],
            "outputs": [tensor.as_dict() for tensor in self.outputs],
            "batched": self.batched,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Signature:
        """Read what `as_dict` wrote."""
        return cls(
            inputs=tuple(TensorSpec.from_dict(item) for item in value["inputs"]),
            outputs=tuple(TensorSpec.from_dict(item) for item in value["outputs"]),
            batched=bool(value["batched"]),
        )
