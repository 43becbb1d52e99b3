"""Which variants are tried for a device profile, in which order, and which are not and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conch.core import ModelFormat, Precision, Profile, ServingSpec

from .converting import CONVERTERS, Converter
from .fil_format import FilFormat
from .formats import Format
from .onnx_format import OnnxFormat
from .openvino_format import OpenvinoFormat
from .python_format import PythonFormat
from .tensorrt_format import TensorrtFormat
from .torchscript_format import TorchscriptFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant that may be made.

    Attributes:
        format: What makes it.
        precision: How it computes.
        last_resort: Whether it is only tried where nothing before it was proven, or where a person
            asks for it.
        by_request: Whether it is only made where a person asks for its format.
    """

    format: Format
    precision: Precision = Precision.FP32
    last_resort: bool = False
    by_request: bool = False

    @property
    def key(self) -> tuple[ModelFormat, Precision]:
        """Its format and precision."""
        return self.format.name, self.precision

    @property
    def name(self) -> str:
        """`<format>:<precision>`."""
        return f"{self.format.name}:{self.precision}"


Plan = tuple[Candidate, ...]


def plans(converters: tuple[Converter, ...] = CONVERTERS) -> Mapping[Profile, Plan]:
    """Return the plan of every device profile, in the order in which variants are tried.

    The first that is proven is the one that others are measured against.
    """
    onnx = Candidate(format=OnnxFormat(converters))
    openvino = OpenvinoFormat()
    last = (
        Candidate(format=FilFormat(), by_request=True),
        Candidate(format=TorchscriptFormat(), last_resort=True),
        Candidate(format=PythonFormat(), last_resort=True),
    )
    on_the_cpu = (
        onnx,
        Candidate(format=openvino),
        Candidate(format=openvino, precision=Precision.FP16),
        Candidate(format=openvino, precision=Precision.INT8),
        *last,
    )
    tensorrt = TensorrtFormat()
    on_a_gpu = (
        onnx,
        Candidate(format=tensorrt),
        Candidate(format=tensorrt, precision=Precision.FP16),
        Candidate(format=tensorrt, precision=Precision.BF16),
        Candidate(format=tensorrt, precision=Precision.INT8),
        *last,
    )
    return {Profile.CPU: on_the_cpu, Profile.GPU: on_a_gpu}


_BASE: Final = (ModelFormat.ONNX, Precision.FP32)
"""What OpenVINO and TensorRT start from: made whatever is pinned."""


def unwanted(candidate: Candidate, spec: ServingSpec, *, proven: bool) -> str:
    """Say why a candidate is not even tried; empty if it is.

    Args:
        candidate: The candidate.
        spec: What a person asked for.
        proven: Whether an earlier candidate was proven.
    """
    name, precision = candidate.key
    if candidate.key == _BASE:
        return ""
    if not spec.pin.allows(name, precision):
        return f"{spec.pin} is asked for"
    asked = spec.format is name
    if candidate.by_request and not asked:
        return f"only where triton.format is {name}"
    if candidate.last_resort and proven and not asked:
        return "an earlier format expresses the model"
    if precision.lossy and spec.precision is not precision and not spec.lossy:
        return f"{precision} loses digits on purpose, and neither triton.lossy nor a pin allows it"
    return ""
