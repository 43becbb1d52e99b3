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
            return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
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
