"""ONNX graphs in coarser precisions, which TensorRT then takes as they are typed.

TensorRT 11 has neither precision flags nor calibrators any more (its Python bindings name neither):
the precision of an engine is that of its graph. FP16 is written by ONNX Runtime's own converter,
INT8 as quantise-dequantise pairs by ONNX Runtime's static quantiser, with real rows. Both graphs
run in ONNX Runtime too, so that they are proven where there is no GPU.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .errors import UnsupportedGraphError


def write_half(source: Path, target: Path) -> None:
    """Write a graph that computes in FP16; inputs and outputs keep their types.

    Raises:
        UnsupportedGraphError: The converter gives up.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with _quiet():
            onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), target)
    except Exception as error:  # the converter's errors share no class
        raise _refused("FP16", error) from error


def write_eight_bits(source: Path, target: Path, batches: list[dict[str, np.ndarray]]) -> None:
    """Write a graph with quantise-dequantise pairs around its matrix products and convolutions.

    Args:
        source: The graph in floating point.
        target: Where to write.
        batches: Rows that ranges are taken from: one array per input, the batch first.

    Raises:
        UnsupportedGraphError: The quantiser gives up.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    try:
        with _quiet():
            quantize_static(
                str(source),
                str(target),
                _Rows(batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                # TensorRT's integers are symmetric around zero.
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
            )
    except Exception as error:  # the quantiser's errors share no class
        raise _refused("INT8", error) from error


class _Rows:
    """What the quantiser reads: `get_next` until None."""

    def __init__(self, batches: list[dict[str, np.ndarray]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def _refused(precision: str, error: Exception) -> UnsupportedGraphError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UnsupportedGraphError(
        f"The graph has no {precision} form: {lines[0] if lines else type(error).__name__:.300}",
        hint="It is served in its own precision.",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    root: Any = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
