"""Inputs as people write them, checked against a signature and put into protocol form.

A caller gives arrays by tensor name, one unnamed array where the model has one input, or rows as
objects. Everything that does not fit is named before anything is sent, all of it at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conch.core import DType, InvalidValueError, Signature, TensorSpec

_NO_JSON: Final = (DType.FP16, DType.BF16)


class InputsInvalidError(InvalidValueError):
    """The inputs of a prediction do not fit the model; `details.problems` names each misfit."""

    code = "inputs-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Misfit(Exception):
    """One input that does not fit, in words."""

    words: str


def checked_inputs(
    value: Mapping[str, Any] | Sequence[Any], signature: Signature, *, max_batch_size: int
) -> list[dict[str, Any]]:
    """Return request tensors of the Open Inference Protocol (JSON, flat data, row-major).

    Args:
        value: Nested lists by tensor name; or one nested list for a model with one input; or a
            list of objects, one per row, each with a value per input.
        signature: What the model takes.
        max_batch_size: The largest batch in rows; 0 for no limit.

    Raises:
        InputsInvalidError: Something is missing, unknown, or of another shape or type.
    """
    named = _by_name(value, signature)
    problems: dict[str, str] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    known = {spec.name: spec for spec in signature.inputs}
    for name in sorted(set(named) - set(known)):
        problems[name] = f"no such input; the model takes {', '.join(sorted(known))}"
    for spec in signature.inputs:
        if spec.name not in named:
            if not spec.optional:
                problems[spec.name] = "missing"
            continue
        try:
            arrays[spec.name] = _array(named[spec.name], spec, batched=signature.batched)
        except _Misfit as misfit:
            problems[spec.name] = misfit.words
    if not problems and signature.batched:
        problems = _batch_problems(arrays, max_batch_size)
    if problems:
        raise InputsInvalidError(
            "; ".join(f"input {name!r}: {words}" for name, words in problems.items()) + ".",
            hint=f"The model takes {describe(signature)}.",
            problems=problems,
        )
    return [
        {
            "name": name,
            "datatype": known[name].dtype.value,
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in arrays.items()
    ]


def describe(signature: Signature) -> str:
    """Return what a model takes, for people.

    >>> x = TensorSpec(name="x", dtype=DType.FP32, shape=(64,))
    >>> describe(Signature(inputs=(x,), outputs=()))
    'x: FP32[rows, 64]'
    """
    words = []
    for spec in signature.inputs:
        sizes = ["any" if size < 0 else str(size) for size in spec.shape]
        shape = ", ".join((["rows"] if signature.batched else []) + sizes)
        words.append(f"{spec.name}: {spec.dtype.value}[{shape}]")
    return "; ".join(words)


def _by_name(value: Mapping[str, Any] | Sequence[Any], signature: Signature) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if value and all(isinstance(row, Mapping) for row in value):
        return _columns(value)
    if len(signature.inputs) != 1:
        raise InputsInvalidError(
            f"An unnamed array was given, and the model takes {len(signature.inputs)} inputs.",
            hint=f"Give an object of arrays by name: {describe(signature)}.",
        )
    return {signature.inputs[0].name: value}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = list(rows[0])
    for number, row in enumerate(rows):
        if set(row) != set(names):
            raise InputsInvalidError(
                f"Row {number} names {sorted(row)}, and row 0 names {sorted(names)}.",
                hint="Every row names the same inputs.",
            )
    return {name: [row[name] for row in rows] for name in names}


def _array(value: Any, spec: TensorSpec, *, batched: bool) -> np.ndarray[Any, Any]:
    if spec.dtype in _NO_JSON:
        raise _Misfit(words=f"{spec.dtype} has no JSON form; send it over gRPC")
    shape = _shape(value)
    inner = shape[1:] if batched else shape
    if (batched and not shape) or not spec.accepts(inner):
        raise _Misfit(words=f"shape {list(shape)} does not fit{_advice(shape, spec, batched)}")
    flat = _flat(value, len(shape))
    return _CONVERSIONS[_kind(spec.dtype)](flat, spec.dtype).reshape(shape)


def _advice(shape: tuple[int, ...], spec: TensorSpec, batched: bool) -> str:
    if batched and spec.accepts(shape):
        return "; a single row goes into a list of its own"
    return ""


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, all of which must agree."""
    if not isinstance(value, list | tuple):
        return ()
    shapes = {_shape(item) for item in value}
    if len(shapes) > 1:
        raise _Misfit(words="its lists are not all of one length")
    return (len(value), *(shapes.pop() if shapes else ()))


def _flat(value: Any, depth: int) -> list[Any]:
    items = [value]
    for _ in range(depth):
        items = [inner for item in items for inner in item]
    return items


def _kind(dtype: DType) -> str:
    return {"b": "bool", "i": "int", "u": "int", "f": "float", "O": "text"}[dtype.numpy.kind]


def _bools(flat: list[Any], dtype: DType) -> np.ndarray[Any, Any]:
    _require(flat, lambda item: isinstance(item, bool), "true or false", dtype)
    return np.array(flat, dtype=np.bool_)


def _texts(flat: list[Any], dtype: DType) -> np.ndarray[Any, Any]:
    _require(flat, lambda item: isinstance(item, str), "a string", dtype)
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array


def _integers(flat: list[Any], dtype: DType) -> np.ndarray[Any, Any]:
    limits = np.iinfo(dtype.numpy)
    low, high = int(limits.min), int(limits.max)

    def fits(item: Any) -> bool:
        whole = isinstance(item, int) or (isinstance(item, float) and item.is_integer())
        return whole and not isinstance(item, bool) and low <= item <= high

    _require(flat, fits, f"a whole number in {low}..{high}", dtype)
    return np.array([int(item) for item in flat], dtype=dtype.numpy)


def _floats(flat: list[Any], dtype: DType) -> np.ndarray[Any, Any]:
    largest = float(np.finfo(dtype.numpy).max)

    def fits(item: Any) -> bool:
        number = isinstance(item, int | float) and not isinstance(item, bool)
        return number and math.isfinite(item) and abs(item) <= largest

    _require(flat, fits, "a finite number within its range", dtype)
    return np.array(flat, dtype=dtype.numpy)


_CONVERSIONS: Final = {"bool": _bools, "int": _integers, "float": _floats, "text": _texts}


def _require(flat: list[Any], fits: Any, wanted: str, dtype: DType) -> None:
    for number, item in enumerate(flat):
        if not fits(item):
            shown = repr(item)[:60]
            raise _Misfit(words=f"element {number} is {shown}, and {dtype.value} takes {wanted}")


def _batch_problems(
    arrays: Mapping[str, np.ndarray[Any, Any]], max_batch_size: int
) -> dict[str, str]:
    rows = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        return {name: f"{count} rows, and others differ" for name, count in rows.items()}
    for name, count in rows.items():
        if count == 0:
            return {name: "no rows"}
        if max_batch_size and count > max_batch_size:
            return {name: f"{count} rows, and a request may hold {max_batch_size}"}
    return {}
