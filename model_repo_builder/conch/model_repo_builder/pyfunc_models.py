"""MLflow's `python_function` flavour: any Python code behind MLflow's `predict`.

Nothing is converted. The model's folder is served as it is, by MLflow, in the environment that it
was logged with; what is proved is that it answers there, through the program that serves it, what
it answers here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DType, InvalidValueError

from .errors import (
    CorruptArtefactError,
    FrameworkMissingError,
    MissingInputExampleError,
    MissingSignatureError,
    PickledModelError,
    UnsupportedGraphError,
)
from .mlflow_models import MlflowModel
from .pyfunc_model import Answerer
from .sources import Arrays, AxisRange, Port
from .tables import Table, example_of, table_of
from .torch_modules import BATCH, declared_ports, example_for

FLAVOUR: Final = "python_function"
_TYPES: Final = {
    DType.BOOL: "bool",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FP32: "float32",
    DType.FP64: "float64",
    DType.BYTES: "object",
}
_UNTRUSTED: Final = "The model is Python code: loading it would run that."


@dataclass(frozen=True, slots=True, kw_only=True)
class PyfuncModel:
    """A Python model.

    Attributes:
        path: The folder that holds `MLmodel`.
        answerer: What answers rows in this process.
        columns: What to make of tensors, as JSON: `table`, whether the model takes a data frame of
            the columns `names` and `types`, `packed` into one tensor or not; else `tensors` by
            name, or one array where `unnamed`. `tensors` and `outputs` are the names on the wire.
        inputs: See `SourceModel`.
        outputs: What it answered when it was first asked.
        axes: See `SourceModel`.
        example: See `SourceModel`.
        table: How columns travel; None for tensors.
    """

    path: Path
    answerer: Answerer
    columns: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    axes: Mapping[str, AxisRange]
    example: Arrays | None
    table: Table | None

    @property
    def flavour(self) -> str:
        """MLflow's name of the framework."""
        return FLAVOUR

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows."""
        return self.answerer.run(dict(inputs))


def load_pyfunc(model: MlflowModel) -> PyfuncModel:
    """Load the `python_function` flavour of an MLflow model.

    Raises:
        PickledModelError: The operator does not trust it.
        FrameworkMissingError: MLflow or pandas is not installed.
        MissingSignatureError: The model has no MLflow signature.
        MissingInputExampleError: It was logged without an example, or does not answer it.
        CorruptArtefactError: It cannot be loaded.
        UnsupportedGraphError: What it takes or answers are no tensors.
    """
    if not model.trusted:
        raise PickledModelError(
            _UNTRUSTED,
            hint="Log it with the flavour of its framework, or let the operator trust it.",
        )
    try:
        import mlflow.pyfunc  # noqa: F401
        import pandas  # noqa: F401
    except ImportError as error:
        raise FrameworkMissingError(
            "MLflow or pandas is not installed, and the model is of the flavour python_function.",
            hint="Install them: pip install 'conch[mlflow]'.",
        ) from error
    if not model.inputs:
        raise MissingSignatureError(
            f"The MLflow model {model.path.name!r} has no signature.",
            hint="Log it with input_example=, from which MLflow infers one.",
        )
    table = None
    if any(tensor.shape is None for tensor in model.inputs):
        table = table_of(model)
        ports, axes = table.ports, table.axes
        example = example_of(model, table)
    else:
        ports, axes = declared_ports(model.inputs, [])
        example = example_for(model, ports)
    if example is None:
        raise MissingInputExampleError(
            "A Python model says what it answers only when it is asked, and no example fits.",
            hint="Log it with input_example= set to a few typical rows.",
        )
    columns: dict[str, Any] = {
        "table": table is not None,
        "packed": table is not None and table.packed,
        "names": [tensor.name for tensor in model.inputs],
        "types": [_TYPES.get(tensor.dtype, tensor.dtype.numpy.name) for tensor in model.inputs],
        "tensors": [port.name for port in ports],
        "unnamed": len(model.inputs) == 1 and not model.inputs[0].name,
    }
    try:
        answerer = Answerer(str(model.path), columns)
    except Exception as error:  # unpickling raises whatever the stored code raises
        raise CorruptArtefactError(
            f"MLflow cannot load the model: {type(error).__name__}: {error!s:.400}",
            hint="Log it with what it imports in pip_requirements and code_paths.",
        ) from error
    outputs = _outputs(answerer, example, batched=BATCH in axes)
    columns["outputs"] = [port.name for port in outputs]
    return PyfuncModel(
        path=model.path,
        answerer=answerer,
        columns=columns,
        inputs=ports,
        outputs=outputs,
        axes=axes,
        example=example,
        table=table,
    )


def interpreter(environment: Path | None) -> str:
    """Return the interpreter that serves: the environment's, else the one that builds."""
    return sys.executable if environment is None else str(environment / "venv" / "bin" / "python")


def _outputs(answerer: Answerer, example: Arrays, *, batched: bool) -> tuple[Port, ...]:
    try:
        answer = answerer.run(dict(example))
    except TypeError as error:
        raise UnsupportedGraphError(
            f"The model's answer to its own example is no tensor: {error!s:.300}",
            hint="Let predict() return arrays, a data frame, or a list of numbers or texts.",
        ) from error
    except Exception as error:  # the model's own
        raise MissingInputExampleError(
            f"The model does not answer its own example: {type(error).__name__}: {error!s:.300}",
            hint="Log it with an input_example that it answers.",
        ) from error
    rows = len(next(iter(example.values())))
    ports = []
    for name, array in answer.items():
        try:
            dtype = DType.BYTES if array.dtype.kind == "O" else DType.from_numpy(array.dtype)
        except InvalidValueError as error:
            raise UnsupportedGraphError(
                f"Output {name!r} is of type {array.dtype}, which cannot be served.",
                hint="Cast it in predict().",
            ) from error
        follows = batched and array.shape[0] == rows
        ports.append(
            Port(name=name, dtype=dtype, dims=(BATCH if follows else f"{name}_0", *array.shape[1:]))
        )
    return tuple(ports)
