"""Rows at the edges of what a type can hold.

What a model was made for is shown by its example. Beyond that lie the largest numbers of a type,
denormal ones, NaN and infinity, integers at their bounds, and a batch of no rows. There frameworks
differ without anybody being wrong (ONNX Runtime answers 0 for the ReLU of NaN, PyTorch NaN). So
these rows are compared and told, and refuse nothing. Text is different: an empty, a long or a
foreign text is what callers send, and its answers must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from conch.core import DType

from .rows import EXAMPLE, NORMAL, Case, RowPlan, filled_case

_ROWS: Final = 7
_LONG: Final = 2000
_FLOATS: Final = frozenset({DType.FP16, DType.FP32, DType.FP64})

TEXTS: Final = (
    "",
    " ",
    "Ünïcödé Straße ÉCOLE",
    "日本語 テキスト",
    "мир и ВОЙНА",
    "tab\tand\nline",
    "0123 -4.5e6 @#!? (a)",
)
"""Texts as callers send them: empty, blank, accented, other scripts, separators, digits."""


def text_cases(plan: RowPlan) -> tuple[Case, ...]:
    """Make rows of empty, foreign and long text; none where no input takes text."""
    ports = [port for port in plan.ports if port.dtype is DType.BYTES]
    if not ports or plan.example is None:
        return ()
    found: list[Case] = []
    known = plan.example[ports[0].name].reshape(-1)
    long = b" ".join(_encoded(item) for item in known[:20])
    long = (long * (1 + _LONG // max(1, len(long))))[: 5 * _LONG].decode(errors="ignore").encode()
    for name, texts in (("text", [item.encode() for item in TEXTS]), ("long-text", [long])):
        rows = _ROWS if plan.batch is not None else 1
        case = filled_case(plan, EXAMPLE, rows, name)
        inputs = dict(case.inputs)
        for port in ports:
            array = np.empty(inputs[port.name].size, dtype=object)
            array[:] = [texts[place % len(texts)] for place in range(array.size)]
            inputs[port.name] = array.reshape(inputs[port.name].shape)
        found.append(replace(case, inputs=inputs))
    return tuple(found)


def beyond_cases(plan: RowPlan) -> tuple[Case, ...]:
    """Make rows beyond what the model was made for; see the module."""
    kinds: list[tuple[str, Callable[[np.dtype[Any]], np.ndarray], frozenset[DType]]] = [
        ("denormal", _denormals, _FLOATS),
        ("largest", _largest, _FLOATS),
        ("infinite", lambda dtype: np.array([np.inf, -np.inf], dtype=dtype), _FLOATS),
        ("nan", lambda dtype: np.array([np.nan], dtype=dtype), _FLOATS),
        ("bounds", _bounds, frozenset(DType) - _FLOATS - {DType.BOOL, DType.BYTES}),
    ]
    found: list[Case] = []
    for number, (name, values, dtypes) in enumerate(kinds):
        if not any(port.dtype in dtypes for port in plan.ports):
            continue
        random = np.random.default_rng((plan.seed, number))
        rows = min(_ROWS, plan.batch_sizes[-1]) if plan.batch is not None else 1
        kind = EXAMPLE if plan.example is not None else NORMAL
        case = filled_case(plan, kind, rows, name)
        inputs = dict(case.inputs)
        for port in plan.ports:
            if port.dtype in dtypes:
                array = inputs[port.name].copy()
                hit = random.random(array.shape) < 1 / 3
                array[hit] = random.choice(values(array.dtype), size=int(hit.sum()))
                inputs[port.name] = array
        found.append(replace(case, inputs=inputs, typical=False, beyond=True))
    if plan.batch is not None:
        none = filled_case(plan, EXAMPLE if plan.example is not None else NORMAL, 1, "empty")
        inputs = {
            port.name: none.inputs[port.name][:0] if port.dims[0] == plan.batch else array
            for port, array in zip(plan.ports, none.inputs.values(), strict=True)
        }
        sizes = {**none.sizes, plan.batch: 0}
        found.append(replace(none, inputs=inputs, sizes=sizes, rows=0, beyond=True))
    return tuple(found)


def _denormals(dtype: np.dtype[Any]) -> np.ndarray:
    least = float(np.finfo(dtype).smallest_subnormal)
    return np.array([least, -least, 1000 * least], dtype=dtype)


def _largest(dtype: np.dtype[Any]) -> np.ndarray:
    most = float(np.finfo(dtype).max)
    return np.array([most, -most, most**0.5], dtype=dtype)


def _bounds(dtype: np.dtype[Any]) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.array([limits.min, limits.max, 0], dtype=dtype)


def _encoded(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()
