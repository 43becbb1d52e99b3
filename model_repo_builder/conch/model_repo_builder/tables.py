"""How a model of table columns takes them over the wire.

Columns of numbers travel as one tensor `input` [rows, columns] in the order of MLflow's signature:
one tensor is cheaper than one per column, and is what callers have at hand. As soon as one column
is text, every column is a tensor of its own name, [rows, 1], with its own type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conch.core import DType

from .errors import MissingSignatureError, UnsupportedGraphError
from .mlflow_models import DeclaredTensor, MlflowModel
from .onnx_models import fitted
from .sources import Arrays, AxisRange, Port

PACKED: Final = "input"
BATCH: Final = "batch"
_SINGLE_ENOUGH: Final = frozenset({DType.FP16, DType.FP32, DType.BOOL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of a model.

    Attributes:
        columns: Their names in order; empty where the model was trained on an array.
        ports: The tensors on the wire.
        flat: Whether the model takes one list of values instead of a table, as text models do.
        note: What was decided on types and order, and why.
        whole: Places of columns in a packed tensor that are declared as integers, and so never hold
            a fraction.
    """

    columns: tuple[str, ...]
    ports: tuple[Port, ...]
    flat: bool
    note: str
    whole: tuple[int, ...] = ()

    @property
    def packed(self) -> bool:
        """Whether all columns are one tensor."""
        return len(self.ports) == 1

    @property
    def axes(self) -> dict[str, AxisRange]:
        """See `SourceModel`."""
        return {BATCH: AxisRange()}

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(int(port.dims[1]) for port in self.ports)

    def conform(self, inputs: Arrays) -> Arrays:
        """Return rows with whole numbers in the columns that are declared as integers."""
        if not self.whole:
            return inputs
        (port,) = self.ports
        array = inputs[port.name].copy()
        array[:, self.whole] = np.rint(array[:, self.whole])
        return {port.name: array}

    def frame(self, inputs: Arrays, *, widened: bool) -> Any:
        """Return rows as the framework takes them: a data frame, an array, or a list of text.

        Args:
            inputs: Tensors by name.
            widened: Whether numbers become float64.
        """
        arrays = [_native(inputs[port.name], widened) for port in self.ports]
        if self.flat:
            return arrays[0].reshape(-1)
        if not self.columns:
            return arrays[0]
        import pandas as pd

        if self.packed:
            return pd.DataFrame(arrays[0], columns=list(self.columns))
        return pd.DataFrame(
            {
                name: pd.Series(array.reshape(-1), dtype=array.dtype)
                for name, array in zip(self.columns, arrays, strict=True)
            }
        )


def table_of(model: MlflowModel) -> Table:
    """Decide how a model's columns travel, from MLflow's signature.

    Raises:
        MissingSignatureError: There is none.
        UnsupportedGraphError: It is not a table: several tensors, or one of three dimensions.
    """
    declared = model.inputs
    if not declared:
        raise MissingSignatureError(
            f"The MLflow model {model.path.name!r} has no signature.",
            hint="Log it again with input_example=, or with "
            "signature=mlflow.models.infer_signature(rows, answers).",
        )
    if any(tensor.shape is not None for tensor in declared):
        return _tensor_table(declared)
    names = tuple(tensor.name for tensor in declared)
    if len(declared) == 1 and not names[0]:
        return _flat(declared[0].dtype)
    if any(tensor.dtype is DType.BYTES for tensor in declared):
        ports = tuple(
            Port(name=tensor.name, dtype=tensor.dtype, dims=(BATCH, 1)) for tensor in declared
        )
        note = "some columns are text, so every column is a tensor [1] of its own name and type"
        return Table(columns=names, ports=ports, flat=False, note=note)
    single = all(tensor.dtype in _SINGLE_ENOUGH for tensor in declared)
    dtype = DType.FP32 if single else DType.FP64
    why = (
        "all of them are float32 or narrower"
        if single
        else "float32 would round a column that is declared wider"
    )
    port = Port(name=PACKED, dtype=dtype, dims=(BATCH, len(names)))
    note = f"the columns {', '.join(names)} are one {dtype} tensor in this order: {why}"
    whole = tuple(
        place for place, tensor in enumerate(declared) if tensor.dtype.numpy.kind in "biu"
    )
    return Table(columns=names, ports=(port,), flat=False, note=note, whole=whole)


def example_of(model: MlflowModel, table: Table) -> Arrays | None:
    """Return MLflow's input example as the tensors of a table; None if there is none that fits."""
    if model.example is None:
        return None
    try:
        return example_of_columns(model.example, table)
    except (TypeError, ValueError):  # a column of something that is not a number
        return None


def example_of_columns(example: Mapping[str, np.ndarray], table: Table) -> Arrays | None:
    """Return rows by column as the tensors of a table; None where they do not fit.

    Raises:
        TypeError, ValueError: A column holds something that is not of its type.
    """
    if table.flat and len(example) == 1:
        example = {table.ports[0].name: next(iter(example.values())).reshape(-1, 1)}
    elif table.packed and table.columns and set(table.columns) <= set(example):
        example = {name: example[name] for name in table.columns}
    return fitted(example, table.ports)


def _tensor_table(declared: tuple[DeclaredTensor, ...]) -> Table:
    tensor = declared[0]
    shape = tensor.shape or ()
    if len(declared) > 1 or len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] < 1):
        raise UnsupportedGraphError(
            "MLflow's signature is not a table: "
            + ", ".join(f"{item.name or 'a tensor'} {list(item.shape or ())}" for item in declared),
            hint="Log the model with one two-dimensional array, or with a data frame.",
        )
    if len(shape) == 1:
        return _flat(tensor.dtype, tensor.name)
    port = Port(name=tensor.name or PACKED, dtype=tensor.dtype, dims=(BATCH, shape[1]))
    note = f"one {tensor.dtype} tensor of {shape[1]} columns, as the signature says"
    return Table(columns=(), ports=(port,), flat=False, note=note)


def _flat(dtype: DType, name: str = "") -> Table:
    port = Port(name=name or PACKED, dtype=dtype, dims=(BATCH, 1))
    return Table(columns=(), ports=(port,), flat=True, note=f"one {dtype} value per row")


def _native(array: np.ndarray, widened: bool) -> np.ndarray:
    if array.dtype.kind in "OSU":
        text = [v.decode() if isinstance(v, bytes) else str(v) for v in array.reshape(-1)]
        return np.array(text, dtype=object).reshape(array.shape)
    return array.astype(np.float64) if widened else array
