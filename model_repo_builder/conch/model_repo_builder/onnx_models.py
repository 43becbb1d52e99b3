"""MLflow's `onnx` flavour: the file as it was logged, run by ONNX Runtime without rewriting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conch.core import DType

from .errors import UnsupportedGraphError
from .mlflow_models import MlflowModel
from .onnx_files import check_caps, read_onnx
from .onnx_graphs import input_ports
from .onnx_sessions import OnnxSession
from .requests import RuntimeCaps
from .sources import Arrays, AxisRange, Port

FLAVOUR: Final = "onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """A logged ONNX file.

    Attributes:
        proto: The `onnx.ModelProto`, its weights included.
        session: What runs it.
        inputs: See `SourceModel`.
        axes: See `SourceModel`.
        example: See `SourceModel`.
    """

    proto: Any
    session: OnnxSession
    inputs: tuple[Port, ...]
    axes: Mapping[str, AxisRange]
    example: Arrays | None

    @property
    def flavour(self) -> str:
        """MLflow's name of the framework."""
        return FLAVOUR

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows."""
        return self.session.run(inputs)


def load_onnx(model: MlflowModel) -> OnnxModel:
    """Load the `onnx` flavour of an MLflow model.

    Raises:
        CorruptArtefactError: The file or its weights cannot be read.
        RuntimeCapsError: It is too new, for the ONNX Runtime here too.
        UnsupportedGraphError: ONNX Runtime does not take it, or it takes no plain tensors.
    """
    path = model.file(str(model.flavours[FLAVOUR].get("data", "model.onnx")))
    proto = read_onnx(path, root=model.path)
    ports = input_ports(proto)
    try:
        session = OnnxSession(proto.SerializeToString(), optimised=False)
    except UnsupportedGraphError:
        check_caps(proto, RuntimeCaps())  # too new says more than what ONNX Runtime makes of it
        raise
    return OnnxModel(
        proto=proto,
        session=session,
        inputs=ports,
        axes={size: AxisRange() for port in ports for size in port.dims if isinstance(size, str)},
        example=fitted(model.example, ports),
    )


def fitted(example: Arrays | None, ports: tuple[Port, ...]) -> Arrays | None:
    """Return an input example as the graph's inputs: named, typed, of their rank; None if unlike.

    One unnamed array fits one input; a table's columns fit inputs of their names, or, side by
    side, the columns of one matrix.
    """
    if example is None:
        return None
    if len(ports) == 1 and ports[0].name not in example and example:
        columns = list(example.values())
        one = columns[0] if set(example) == {""} else np.stack(columns, axis=-1)
        return _named({ports[0].name: one}, ports)
    return _named(example, ports)


def _named(example: Arrays, ports: tuple[Port, ...]) -> Arrays | None:
    found: dict[str, np.ndarray] = {}
    for port in ports:
        array = example.get(port.name)
        if array is None:
            return None
        if array.ndim == len(port.dims) - 1 and port.dims[-1] == 1:
            array = array[..., None]  # a column of a table
        fits = array.ndim == len(port.dims) and all(
            isinstance(want, str) or want == have
            for want, have in zip(port.dims, array.shape, strict=True)
        )
        if not fits:
            return None
        found[port.name] = _typed(array, port)
    return found


def _typed(array: np.ndarray, port: Port) -> np.ndarray:
    if port.dtype is not DType.BYTES:
        return array.astype(port.dtype.numpy)
    found = np.empty(array.size, dtype=object)
    found[:] = [str(item).encode() for item in array.reshape(-1)]
    return found.reshape(array.shape)
