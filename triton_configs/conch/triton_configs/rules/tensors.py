"""Inputs, outputs and what Triton computes over ragged batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from conch.core import DYNAMIC, DType

from ..tensors import Input, InputFormat, Output
from .books import Problem, RuleBook, Subject

book = RuleBook()


@book.error("inputs-missing")
def inputs_missing(subject: Subject) -> Iterator[Problem]:
    """There are no inputs, and auto-completion is off."""
    if not subject.config.input:
        yield Problem("input", "The model takes nothing.", "State every input.")


@book.error("outputs-missing")
def outputs_missing(subject: Subject) -> Iterator[Problem]:
    """There are no outputs, and auto-completion is off."""
    if not subject.config.output:
        yield Problem("output", "The model returns nothing.", "State every output.")


@book.error("tensor-unnamed")
def tensor_unnamed(subject: Subject) -> Iterator[Problem]:
    """A tensor has no name."""
    for at, tensor in _tensors(subject):
        if not tensor.name:
            yield Problem(f"{at}.name", "The tensor has no name.", "Give it the model's name.")


@book.error("tensor-duplicate")
def tensor_duplicate(subject: Subject) -> Iterator[Problem]:
    """Two inputs, or two outputs, share a name."""
    sides: tuple[tuple[str, Sequence[Input | Output]], ...] = (
        ("input", subject.config.input),
        ("output", subject.config.output),
    )
    for side, tensors in sides:
        seen: set[str] = set()
        for index, tensor in enumerate(tensors):
            if tensor.name in seen:
                yield Problem(
                    f"{side}[{index}].name", f"{tensor.name!r} is there twice.", "Keep one."
                )
            seen.add(tensor.name)


@book.error("dtype-missing")
def dtype_missing(subject: Subject) -> Iterator[Problem]:
    """A tensor has no data type."""
    for at, tensor in _tensors(subject):
        if tensor.data_type is None:
            yield Problem(f"{at}.data_type", f"{tensor.name!r} has no type.", "State it.")


@book.error("dims-missing")
def dims_missing(subject: Subject) -> Iterator[Problem]:
    """A tensor has no dimensions."""
    for at, tensor in _tensors(subject):
        if not tensor.dims:
            yield Problem(
                f"{at}.dims",
                f"{tensor.name!r} has no dimensions.",
                "For one value per row state dims: [ 1 ] and an empty reshape.",
            )


@book.error("dims-invalid")
def dims_invalid(subject: Subject) -> Iterator[Problem]:
    """A dimension, also of a reshape, is neither a size of at least 1 nor -1."""
    for at, tensor in _tensors(subject):
        shapes = {"dims": tensor.dims}
        if tensor.reshape is not None:
            shapes["reshape.shape"] = tensor.reshape.shape
        for name, shape in shapes.items():
            for index, size in enumerate(shape):
                if size < 1 and size != DYNAMIC:
                    yield Problem(
                        f"{at}.{name}[{index}]", f"{size} is no size.", "Use a size or -1."
                    )


@book.error("reshape-scalar")
def reshape_scalar(subject: Subject) -> Iterator[Problem]:
    """An empty reshape stands in a model without a batch dimension."""
    for at, tensor in _tensors(subject):
        empty = tensor.reshape is not None and not tensor.reshape.shape
        if empty and subject.config.max_batch_size == 0:
            yield Problem(
                f"{at}.reshape",
                f"{tensor.name!r} would have no dimension at all.",
                "Remove the reshape, or give the model a batch dimension.",
            )


@book.error("reshape-mismatch")
def reshape_mismatch(subject: Subject) -> Iterator[Problem]:
    """Dimensions and reshape do not hold the same number of elements."""
    for at, tensor in _tensors(subject):
        if tensor.reshape is None or not tensor.dims:
            continue
        if _chunks(tensor.dims) != _chunks(tensor.reshape.shape):
            yield Problem(
                f"{at}.reshape",
                f"{list(tensor.dims)} cannot become {list(tensor.reshape.shape)}.",
                "Keep the number of elements, and of -1, between the variable dimensions.",
            )


@book.error("format-rank")
def format_rank(subject: Subject) -> Iterator[Problem]:
    """An image layout is given for a tensor that has not three dimensions."""
    for index, tensor in enumerate(subject.config.input):
        if tensor.format is not InputFormat.NONE and len(tensor.dims) != 3:
            yield Problem(
                f"input[{index}].format",
                f"{tensor.name!r} has {len(tensor.dims)} dimensions; {tensor.format} has 3.",
                "Remove the format.",
            )


@book.error("tensorrt-only-tensor")
def tensorrt_only_tensor(subject: Subject) -> Iterator[Problem]:
    """A shape tensor or a vectorised layout is asked of a backend other than TensorRT."""
    for at, tensor in _tensors(subject):
        for name in ("is_shape_tensor", "is_non_linear_format_io"):
            if getattr(tensor, name) and subject.backend != "tensorrt":
                yield Problem(f"{at}.{name}", "Only TensorRT has such tensors.", "Remove it.")


@book.error("non-linear-rank")
def non_linear_rank(subject: Subject) -> Iterator[Problem]:
    """A vectorised layout is given for a tensor that has not three dimensions."""
    for at, tensor in _tensors(subject):
        if tensor.is_non_linear_format_io and len(tensor.dims) != 3:
            yield Problem(f"{at}.dims", "A vectorised tensor has 3 dimensions.", "State them.")


@book.warning("ragged-unbatched")
def ragged_unbatched(subject: Subject) -> Iterator[Problem]:
    """A ragged input has no effect where no batches are formed."""
    config = subject.config
    scheduler = config.dynamic_batching or config.sequence_batching
    if config.max_batch_size > 1 and scheduler is not None:
        return
    for index, tensor in enumerate(config.input):
        if tensor.allow_ragged_batch:
            yield Problem(
                f"input[{index}].allow_ragged_batch",
                "No batch is formed that could be ragged.",
                "Turn dynamic batching on, or remove it.",
            )


@book.info("variable-dims-batch")
def variable_dims_batch(subject: Subject) -> Iterator[Problem]:
    """Requests of different shapes never share a batch."""
    if subject.config.dynamic_batching is None or subject.config.max_batch_size <= 1:
        return
    for index, tensor in enumerate(subject.config.input):
        if DYNAMIC in tensor.dims and not tensor.allow_ragged_batch:
            yield Problem(
                f"input[{index}].dims",
                f"Only requests with equal sizes of {tensor.name!r} share a batch.",
                "Let callers pad to few sizes, or make the model accept ragged batches.",
            )


@book.error("batch-input-invalid")
def batch_input_invalid(subject: Subject) -> Iterator[Problem]:
    """A computed input does not name one input of the model, or is not FP32 or INT32."""
    names = {tensor.name for tensor in subject.config.input}
    for index, computed in enumerate(subject.config.batch_input):
        at = f"batch_input[{index}]"
        if len(computed.source_input) != 1 or not set(computed.source_input) <= names:
            yield Problem(
                f"{at}.source_input",
                f"{list(computed.source_input)} is not one input of the model.",
                f"Name one of: {', '.join(sorted(names))}.",
            )
        if computed.data_type not in (DType.FP32, DType.INT32):
            yield Problem(f"{at}.data_type", "It is neither FP32 nor INT32.", "Use one of them.")


@book.error("batch-output-invalid")
def batch_output_invalid(subject: Subject) -> Iterator[Problem]:
    """A split output names tensors that the model does not have, or one twice."""
    inputs = {tensor.name for tensor in subject.config.input}
    outputs = {tensor.name for tensor in subject.config.output}
    for index, split in enumerate(subject.config.batch_output):
        at = f"batch_output[{index}]"
        if len(split.source_input) != 1 or not set(split.source_input) <= inputs:
            yield Problem(
                f"{at}.source_input",
                f"{list(split.source_input)} is not one input of the model.",
                f"Name one of: {', '.join(sorted(inputs))}.",
            )
        targets = split.target_name
        if not set(targets) <= outputs or len(set(targets)) != len(targets):
            yield Problem(
                f"{at}.target_name",
                f"{list(targets)} are not distinct outputs of the model.",
                f"Name some of: {', '.join(sorted(outputs))}.",
            )


def _tensors(subject: Subject) -> Iterator[tuple[str, Input | Output]]:
    for index, tensor in enumerate(subject.config.input):
        yield f"input[{index}]", tensor
    for index, output in enumerate(subject.config.output):
        yield f"output[{index}]", output


def _chunks(shape: Sequence[int]) -> list[int]:
    """Return the element counts between variable dimensions, which a reshape must keep."""
    chunks: list[list[int]] = [[]]
    for size in shape:
        if size == DYNAMIC:
            chunks.append([])
        else:
            chunks[-1].append(size)
    return [prod(chunk) for chunk in chunks]
