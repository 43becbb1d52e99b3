"""Requests that a server runs by itself before it calls a model ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conch.core import DType


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInput:
    """`ModelWarmup.Input`; exactly one of `zero_data`, `random_data`, `input_data_file`.

    Attributes:
        data_type: Element type, that of the model's input.
        dims: Dimensions of *one row*, none of them variable.
        zero_data: All zeros (for strings: empty strings).
        random_data: Random bytes (for strings: empty strings).
        input_data_file: A file within the model's `warmup` folder: the raw little-endian elements
            of one row, strings each behind its length in 4 bytes.
    """

    data_type: DType | None = None
    dims: tuple[int, ...] = ()
    zero_data: bool | None = None
    random_data: bool | None = None
    input_data_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """`ModelWarmup`: one sample, executed by every instance before the model is ready.

    Attributes:
        name: Name in messages.
        batch_size: Rows; the server repeats the row of each input so often, as requests of one
            row that it hands to the backend together. 0 skips the sample.
        inputs: By input name.
        count: Times that it runs; 0 is once.
    """

    name: str = ""
    batch_size: int = 0
    inputs: Mapping[str, WarmupInput] = field(default_factory=dict)
    count: int = 0
