"""Inputs as people write them become protocol tensors without a change of value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.tensor_inputs import InputsInvalidError, checked_inputs, describe
from conch.core import DYNAMIC, DType, Signature, TensorSpec

_ELEMENTS = {
    DType.BOOL: st.booleans(),
    DType.INT8: st.integers(-128, 127),
    DType.UINT16: st.integers(0, 2**16 - 1),
    DType.INT64: st.integers(-(2**63), 2**63 - 1),
    DType.FP32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    DType.FP64: st.floats(allow_nan=False, allow_infinity=False),
    DType.BYTES: st.text(),
}


def _one(dtype: DType, *shape: int, batched: bool = True) -> Signature:
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    return Signature(inputs=(spec,), outputs=(), batched=batched)


@given(data=st.data(), dtype=st.sampled_from(sorted(_ELEMENTS)), rows=st.integers(1, 5))
def test_every_value_of_a_type_arrives_as_it_was(data: Any, dtype: DType, rows: int) -> None:
    """Shape, order and every element survive, for every type and batch size."""
    columns = data.draw(st.integers(1, 4))
    row = st.lists(_ELEMENTS[dtype], min_size=columns, max_size=columns)
    value = data.draw(st.lists(row, min_size=rows, max_size=rows))
    (tensor,) = checked_inputs({"x": value}, _one(dtype, columns), max_batch_size=0)
    assert tensor["shape"] == [rows, columns]
    assert tensor["datatype"] == dtype.value
    back = np.array(tensor["data"], dtype=object).reshape(tensor["shape"]).tolist()
    assert back == value


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        (DType.INT8, [[128]], "a whole number in -128..127"),
        (DType.INT8, [[1.5]], "element 0 is 1.5"),
        (DType.UINT8, [[-1]], "0..255"),
        (DType.INT32, [[True]], "element 0 is True"),
        (DType.BOOL, [[1]], "true or false"),
        (DType.BYTES, [[7]], "a string"),
        (DType.FP32, [[float("nan")]], "finite"),
        (DType.FP64, [[float("inf")]], "finite"),
        (DType.FP16, [[1.0]], "send it over gRPC"),
        (DType.BF16, [[1.0]], "send it over gRPC"),
    ],
)
def test_a_value_outside_its_type_is_named(dtype: DType, value: Any, words: str) -> None:
    """Nothing is rounded, wrapped or cut to make it fit."""
    with pytest.raises(InputsInvalidError, match=words):
        checked_inputs({"x": value}, _one(dtype, 1), max_batch_size=0)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON writers that know only floats can still fill an integer tensor."""
    (tensor,) = checked_inputs([[3.0]], _one(DType.INT64, 1), max_batch_size=0)
    assert tensor["data"] == [3]


def test_dynamic_dimensions_and_models_without_batches() -> None:
    """A dynamic size takes any; a model without batches takes its shape as it is."""
    signature = _one(DType.FP32, 2, DYNAMIC, batched=False)
    (tensor,) = checked_inputs([[1, 2, 3], [4, 5, 6]], signature, max_batch_size=0)
    assert tensor["shape"] == [2, 3]


def test_all_misfits_are_told_at_once() -> None:
    """A person corrects a request once, not once per input."""
    inputs = (
        TensorSpec(name="a", dtype=DType.FP32, shape=(1,)),
        TensorSpec(name="b", dtype=DType.INT64, shape=(1,)),
        TensorSpec(name="c", dtype=DType.INT64, shape=(1,), optional=True),
    )
    signature = Signature(inputs=inputs, outputs=())
    with pytest.raises(InputsInvalidError) as caught:
        checked_inputs({"b": [["x"]], "d": [[1]]}, signature, max_batch_size=0)
    assert set(caught.value.details["problems"]) == {"a", "b", "d"}
    with pytest.raises(InputsInvalidError, match="rows, and others differ"):
        checked_inputs({"a": [[1], [2]], "b": [[1]]}, signature, max_batch_size=0)
    with pytest.raises(InputsInvalidError, match="the model takes 3 inputs"):
        checked_inputs([[1]], signature, max_batch_size=0)
    assert describe(signature) == "a: FP32[rows, 1]; b: INT64[rows, 1]; c: INT64[rows, 1]"


def test_rows_as_objects_name_the_same_inputs() -> None:
    """Row objects are turned into columns, and a row that differs is named."""
    inputs = tuple(TensorSpec(name=name, dtype=DType.INT64, shape=(1,)) for name in "ab")
    signature = Signature(inputs=inputs, outputs=())
    rows = [{"a": [1], "b": [2]}, {"b": [4], "a": [3]}]
    tensors = checked_inputs(rows, signature, max_batch_size=0)
    assert [(one["name"], one["data"]) for one in tensors] == [("a", [1, 3]), ("b", [2, 4])]
    with pytest.raises(InputsInvalidError, match="Row 1 names"):
        checked_inputs([{"a": [1], "b": [2]}, {"a": [1]}], signature, max_batch_size=0)
