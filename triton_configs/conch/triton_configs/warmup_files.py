"""Warm-up samples whose data a build brings along, as files in the model's `warmup` folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conch.core import DType, Signature

from .errors import PresetError
from .warmup import Warmup, WarmupInput

WARMUP_FOLDER = "warmup"
"""The folder beside `config.pbtxt` in which Triton looks for a sample's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupTensor:
    """One input of a sample.

    Attributes:
        input: The model's input.
        file: Name of the file within `WARMUP_FOLDER`: the raw little-endian elements of one row in
            C order; strings (BYTES) each behind its length as a 4-byte little-endian integer.
        dtype: Element type.
        dims: Dimensions as the configuration counts them: those of one row where the server adds
            the batch dimension, all of them where it does not (`max_batch_size` 0).
    """

    input: str
    file: str
    dtype: DType
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupFile:
    """One sample: what every instance of the model executes before it is ready.

    Attributes:
        name: Name in the server's messages, such as `batch-8`.
        batch_size: Rows. The server repeats the one row in the files so often.
        tensors: Every input that is not optional, once.
        count: Times that it runs.
    """

    name: str
    batch_size: int
    tensors: tuple[WarmupTensor, ...]
    count: int = 1


def warmup_samples(
    samples: Sequence[WarmupFile], *, signature: Signature, max_batch_size: int
) -> tuple[Warmup, ...]:
    """Return the samples as a configuration states them.

    Raises:
        PresetError: A sample does not fit the signature: Triton would fail the load, or warm
            something that no caller can ask for.
    """
    return tuple(_checked(sample, signature, max_batch_size) for sample in samples)


def _checked(sample: WarmupFile, signature: Signature, max_batch_size: int) -> Warmup:
    if not 1 <= sample.batch_size <= max(1, max_batch_size):
        raise PresetError(
            f"Warm-up sample {sample.name!r} has {sample.batch_size} rows; "
            f"the model takes 1 to {max(1, max_batch_size)}."
        )
    given = {tensor.input: tensor for tensor in sample.tensors}
    wanted = {spec.name: spec for spec in signature.inputs}
    missing = sorted(n for n, spec in wanted.items() if not spec.optional and n not in given)
    unknown = sorted(set(given) - set(wanted))
    if missing or unknown or len(given) != len(sample.tensors):
        raise PresetError(
            f"Warm-up sample {sample.name!r} does not name each input once.",
            hint="Give one tensor for every input that is not optional.",
            missing=missing,
            unknown=unknown,
        )
    explicit_batch = signature.batched and max_batch_size == 0
    for name, tensor in given.items():
        spec, dims = wanted[name], tensor.dims[1:] if explicit_batch else tensor.dims
        if (
            tensor.dtype is not spec.dtype
            or not spec.accepts(dims)
            or min(tensor.dims, default=1) < 1
        ):
            raise PresetError(
                f"Warm-up sample {sample.name!r}: {tensor.dtype} {list(tensor.dims)} is no row of "
                f"input {name!r}, which is {spec.dtype} {list(spec.shape)}.",
                hint="Name a size of at least 1 for every dimension, without the batch.",
            )
    return Warmup(
        name=sample.name,
        batch_size=sample.batch_size,
        count=sample.count,
        inputs={
            name: WarmupInput(
                data_type=tensor.dtype,
                dims=tensor.dims or (1,),
                input_data_file=tensor.file,
            )
            for name, tensor in given.items()
        },
    )
