"""Signatures and input examples in the JSON that MLflow keeps beside a model.

Written as MLflow 3.17 writes them (`mlflow.types.Schema.to_json`, `mlflow.models.utils._Example`),
since its own classes import pandas.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conch.core import DYNAMIC, ConchError, DType, Signature, TensorSpec

from .errors import ModelFileError

Arrays = dict[str, NDArray[Any]]
"""An input example: one array per input name, or one array under the empty name."""

_UNNAMED: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A model signature as lists of MLflow tensor specifications, batch dimension included.

    Attributes:
        outputs: None where they are not known.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]] | None


def graph_schema(graph: Any) -> Schema | None:
    """Return an ONNX graph's signature in MLflow's terms; None where MLflow has no word for it."""
    weights = {tensor.name for tensor in graph.initializer}
    try:
        return Schema(
            inputs=[_graph_tensor(item) for item in graph.input if item.name not in weights],
            outputs=[_graph_tensor(item) for item in graph.output],
        )
    except (ConchError, KeyError):
        return None  # sequences, maps, bfloat16


def signature_schema(signature: Signature) -> Schema:
    """Return a signature in MLflow's terms."""

    def tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        batch = [DYNAMIC] if signature.batched else []
        return [_tensor(spec.name, spec.dtype, [*batch, *spec.shape]) for spec in specs]

    return Schema(inputs=tensors(signature.inputs), outputs=tensors(signature.outputs))


def example_schema(arrays: Arrays) -> Schema:
    """Return what an input example says of a signature: inputs whose first dimension is rows."""
    inputs = [
        _tensor(name, DType.from_numpy(array.dtype), [DYNAMIC, *array.shape[1:]])
        for name, array in arrays.items()
    ]
    return Schema(inputs=inputs, outputs=None)


def read_arrays(path: Path | None) -> Arrays | None:
    """Read an input example from a `.npy` or `.npz` file.

    Raises:
        ModelFileError: The file is neither, or an array has no rows.
    """
    if path is None:
        return None
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = (
            {_UNNAMED: loaded}
            if isinstance(loaded, np.ndarray)
            else {name: loaded[name] for name in loaded.files}
        )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} is no input example.", hint="Write it with numpy.save or numpy.savez."
        ) from error
    if not arrays or any(array.ndim == 0 or array.shape[0] == 0 for array in arrays.values()):
        raise ModelFileError(f"{path} holds no rows.", hint="Give at least one row per input.")
    return arrays


def example_rows(arrays: Arrays) -> Any:
    """Return an example as MLflow writes it in JSON: rows, or rows by input name; NaN is null."""
    rows = {name: _listed(array) for name, array in arrays.items()}
    return rows[_UNNAMED] if rows.keys() == {_UNNAMED} else rows


def _graph_tensor(item: Any) -> dict[str, Any]:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = item.type.tensor_type
    shape = [size.dim_value if size.HasField("dim_value") else DYNAMIC for size in kind.shape.dim]
    dtype = DType.from_numpy(tensor_dtype_to_np_dtype(kind.elem_type))
    return _tensor(item.name, dtype, shape)


def _tensor(name: str, dtype: DType, shape: list[int]) -> dict[str, Any]:
    """Return a tensor as MLflow's schema JSON has it: `name` only where there is one."""
    kind = "str" if dtype is DType.BYTES else dtype.numpy.name
    spec = {"type": "tensor", "tensor-spec": {"dtype": kind, "shape": shape}}
    return {"name": name, **spec} if name != _UNNAMED else spec


def _listed(array: NDArray[Any]) -> Any:
    if not np.issubdtype(array.dtype, np.floating):
        return array.tolist()
    values = array.astype(object)
    values[np.isnan(array)] = None
    return values.tolist()
