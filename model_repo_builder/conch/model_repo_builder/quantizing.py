"""INT8 by NNCF's post-training quantisation, seeded and quiet."""

from __future__ import annotations

import contextlib
import io
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from .openvino_sessions import refused

_SEED = 0


def quantized(model: Any, batches: list[dict[str, np.ndarray]]) -> Any:
    """Return an `openvino.Model` with weights and activations in INT8.

    Weights use half of their range. Processors without VNNI (AVX2, older AVX-512) add two products
    of a uint8 and an int8 in 16 bits and saturate there: 2 * 255 * 127 is too much for them, and
    2 * 255 * 64 is not. With whole weights a build could be proven on one machine and answer
    something else on another; with half of them every processor computes the same.

    Args:
        model: An `openvino.Model` in floating point; it is changed.
        batches: What its ranges are taken from: one array per input, the batch first.

    Raises:
        UnsupportedGraphError: NNCF gives up.
    """
    with _quiet():
        import nncf

        random.seed(_SEED)
        try:
            return nncf.quantize(
                model,
                nncf.Dataset(batches),
                subset_size=len(batches),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.ENABLE
                ),
            )
        except Exception as error:  # NNCF's errors share no public class
            raise refused("with NNCF cannot quantise the model", error) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
