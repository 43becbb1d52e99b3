"""Inputs and outputs of a model as its configuration declares them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from conch.core import DType


class InputFormat(StrEnum):
    """`ModelInput.Format`: how an image tensor is laid out."""

    NONE = "FORMAT_NONE"
    NHWC = "FORMAT_NHWC"
    NCHW = "FORMAT_NCHW"


class BatchInputKind(StrEnum):
    """`BatchInput.Kind`: what Triton tells the model about a ragged batch."""

    ELEMENT_COUNT = "BATCH_ELEMENT_COUNT"
    ACCUMULATED_ELEMENT_COUNT = "BATCH_ACCUMULATED_ELEMENT_COUNT"
    ACCUMULATED_ELEMENT_COUNT_WITH_ZERO = "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO"
    MAX_ELEMENT_COUNT_AS_SHAPE = "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE"
    ITEM_SHAPE = "BATCH_ITEM_SHAPE"
    ITEM_SHAPE_FLATTEN = "BATCH_ITEM_SHAPE_FLATTEN"


class BatchOutputKind(StrEnum):
    """`BatchOutput.Kind`: how Triton splits an output over the requests of a batch."""

    SCATTER_WITH_INPUT_SHAPE = "BATCH_SCATTER_WITH_INPUT_SHAPE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """The shape that the backend sees where it differs from what callers send.

    Attributes:
        shape: Dimensions without the batch; empty for a scalar per row.
    """

    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """`ModelInput`.

    Attributes:
        name: Name on the wire.
        data_type: Element type; None is `TYPE_INVALID`, which Triton refuses.
        format: Image layout.
        dims: Dimensions, without the batch where `max_batch_size` is above 0; -1 is variable.
        reshape: What the backend sees instead of `dims`.
        is_shape_tensor: TensorRT: the values are a shape.
        allow_ragged_batch: Rows of different shapes may share a batch.
        optional: A request may leave it out.
        is_non_linear_format_io: TensorRT: a vectorised memory layout.
    """

    name: str = ""
    data_type: DType | None = None
    format: InputFormat = InputFormat.NONE
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    is_shape_tensor: bool = False
    allow_ragged_batch: bool = False
    optional: bool = False
    is_non_linear_format_io: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`ModelOutput`.

    Attributes:
        name: Name on the wire.
        data_type: Element type; None is `TYPE_INVALID`, which Triton refuses.
        dims: Dimensions, without the batch where `max_batch_size` is above 0; -1 is variable.
        reshape: What the backend returns instead of `dims`.
        label_filename: File of class names, one a line, for the classification extension.
        is_shape_tensor: TensorRT: the values are a shape.
        is_non_linear_format_io: TensorRT: a vectorised memory layout.
    """

    name: str = ""
    data_type: DType | None = None
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    label_filename: str = ""
    is_shape_tensor: bool = False
    is_non_linear_format_io: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInput:
    """An input that Triton itself computes over a ragged batch.

    Attributes:
        kind: What is computed.
        target_name: Names of the model's inputs that receive it.
        data_type: FP32 or INT32.
        source_input: The input it is computed from.
    """

    kind: BatchInputKind = BatchInputKind.ELEMENT_COUNT
    target_name: tuple[str, ...] = ()
    data_type: DType | None = None
    source_input: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutput:
    """An output that Triton splits over the requests of a ragged batch.

    Attributes:
        target_name: Names of the model's outputs that are split.
        kind: How.
        source_input: The input whose shapes say where to split.
    """

    target_name: tuple[str, ...] = ()
    kind: BatchOutputKind = BatchOutputKind.SCATTER_WITH_INPUT_SHAPE
    source_input: tuple[str, ...] = ()
