"""The forms that a model can be served in, and how exactly each computes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from .errors import InvalidValueError


class ModelFormat(StrEnum):
    """What the version folder of a build holds."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    FIL = "fil"
    TORCHSCRIPT = "torchscript"
    PYTHON = "python"


class Precision(StrEnum):
    """How a build computes, compared with the model that was registered."""

    FP32 = "fp32"
    """As the model was registered: nothing was made coarser, whichever type that is."""
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"

    @property
    def lossy(self) -> bool:
        """Whether answers lose digits on purpose."""
        return self is not Precision.FP32


class Profile(StrEnum):
    """The kind of device that a build is made for."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A person's word on what is served; None leaves it to measurement.

    Attributes:
        format: The one format.
        precision: The one precision.
    """

    format: ModelFormat | None = None
    precision: Precision | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FORMAT[:PRECISION]`.

        Raises:
            InvalidValueError: Either is unknown.

        >>> str(Pin.parse("openvino:int8"))
        'openvino:int8'
        """
        name, colon, precision = text.strip().lower().partition(":")
        try:
            return cls(format=ModelFormat(name), precision=Precision(precision) if colon else None)
        except ValueError as error:
            raise InvalidValueError(
                f"{text!r} names no format and precision.",
                hint=f"Formats: {', '.join(ModelFormat)}; precisions: {', '.join(Precision)}; "
                "for instance openvino:int8.",
            ) from error

    def allows(self, name: ModelFormat, precision: Precision) -> bool:
        """Tell whether a variant is what was asked for."""
        return self.format in (None, name) and self.precision in (None, precision)

    def __str__(self) -> str:
        return ":".join(part for part in (self.format, self.precision) if part is not None) or "any"
