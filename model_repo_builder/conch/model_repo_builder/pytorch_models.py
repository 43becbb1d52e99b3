"""MLflow's `pytorch` flavour: programs of `torch.export`, TorchScript, and pickled modules.

A program (`model.pt2`) is loaded with unpickling restricted to plain tensors; for the other two see
`torch_modules`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DType, InvalidValueError

from .errors import (
    CorruptArtefactError,
    FrameworkMissingError,
    MissingSignatureError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
)
from .mlflow_models import DeclaredTensor, MlflowModel
from .sources import Arrays, AxisRange, Port
from .torch_modules import (
    argument_names,
    declared_ports,
    example_for,
    export,
    flat_names,
    read_module,
    traced_rows,
)

FLAVOUR: Final = "pytorch"
_PROGRAM: Final = "model.pt2"
_MODULES: Final = ("model.pth", "model.pt")
_RELOG = (
    "Log it again with mlflow.pytorch.log_model(model.eval(), input_example=..., signature=..., "
    "serialization_format='pt2'), with two rows or more in the example."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PytorchModel:
    """A model of PyTorch's.

    Attributes:
        program: The `torch.export.ExportedProgram`; None where there is none, see `unexported`.
        module: What answers rows: the program's own module, a `ScriptModule`, or the one that was
            pickled.
        inputs: See `SourceModel`.
        axes: See `SourceModel`.
        output_names: Names of the tensors that it returns, flattened.
        example: See `SourceModel`.
        unexported: Why there is no program; empty where there is one.
    """

    program: Any
    module: Any
    inputs: tuple[Port, ...]
    axes: Mapping[str, AxisRange]
    output_names: tuple[str, ...]
    example: Arrays | None
    unexported: str = ""

    @property
    def flavour(self) -> str:
        """MLflow's name of the framework."""
        return FLAVOUR

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows on the CPU, without gradients."""
        import torch

        # A copy: a module whose state changes with use must not change the caller's rows too.
        tensors = [torch.from_numpy(np.array(inputs[port.name])) for port in self.inputs]
        with torch.no_grad():
            answer = self.module(*tensors)
        found = torch.utils._pytree.tree_leaves(answer)
        return {
            name: tensor.detach().numpy()
            for name, tensor in zip(self.output_names, found, strict=True)
        }


def load_pytorch(model: MlflowModel) -> PytorchModel:
    """Load the `pytorch` flavour of an MLflow model.

    Raises:
        FrameworkMissingError: PyTorch is not installed.
        PickledModelError: The model is pickled and not trusted, or its archive hides a pickle.
        CorruptArtefactError: The archive cannot be read.
        MissingSignatureError: The model has no MLflow signature.
        SignatureMismatchError: The signature does not fit the program's inputs.
        UnsupportedGraphError: It takes or returns something that is not a plain tensor.
    """
    try:
        import torch
    except ImportError as error:
        raise FrameworkMissingError(
            "PyTorch is not installed, and the model is of the flavour pytorch.",
            hint="Install it: pip install 'conch[torch]'.",
        ) from error
    del torch
    if model.inputs is None:
        raise MissingSignatureError(
            f"The MLflow model {model.path.name!r} has no signature.", hint=_RELOG
        )
    data = str(model.flavours[FLAVOUR].get("model_data", "data"))
    for name in _MODULES:
        if (model.path / data / name).exists():
            return _module(model, model.file(f"{data}/{name}"), model.inputs)
    program = _load(model.file(f"{data}/{_PROGRAM}"))
    return _described(program, model, model.inputs)


def _module(model: MlflowModel, path: Path, declared: tuple[DeclaredTensor, ...]) -> PytorchModel:
    import torch

    module = read_module(path, model, relog=_RELOG)
    ports, axes = declared_ports(declared, argument_names(module))
    example = example_for(model, ports)
    rows = traced_rows(ports, example)
    try:
        with torch.no_grad():
            answer = module(*rows)
    except Exception as error:  # the module's own
        raise SignatureMismatchError(
            f"The model does not answer rows of its signature: {_last_words(error)}",
            hint="Log the model again with a signature and an input_example that fit its "
            "forward().",
        ) from error
    names = flat_names(answer, model.outputs)
    program, unexported = export(module, ports, rows)
    return PytorchModel(
        program=program,
        module=module,
        inputs=ports,
        axes=axes,
        output_names=names,
        example=example,
        unexported=unexported,
    )


def _load(path: Path) -> Any:
    import torch

    try:
        with _tensors_only():
            return torch.export.load(path)
    except Exception as error:
        words = _last_words(error)
        if "weights_only" in words or "WeightsUnpickler" in words:
            raise PickledModelError(
                "The program's archive holds more than tensors: unpickling it could run code.",
                hint=_RELOG,
            ) from error
        raise CorruptArtefactError(
            f"{_PROGRAM} cannot be read by torch {torch.__version__}: {words}",
            hint="Log the model again, or check that the download was complete.",
        ) from error


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Let `torch.load` unpickle plain tensors only.

    `torch.export.load` (2.13) falls back to unrestricted unpickling by itself where the restricted
    one fails; this variable of PyTorch's own takes that fallback away.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _described(
    program: Any, model: MlflowModel, declared: tuple[DeclaredTensor, ...]
) -> PytorchModel:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    user_inputs = list(program.graph_signature.user_inputs)
    if len(declared) != len(user_inputs):
        raise SignatureMismatchError(
            f"The signature names {len(declared)} input(s), the program takes {len(user_inputs)}.",
            hint="Log the model again with a signature that fits its forward().",
        )
    symbols: dict[str, AxisRange] = {}
    ports = tuple(
        Port(
            name=tensor.name or str(node),
            dtype=_dtype(values[str(node)], str(node)),
            dims=_dims(values[str(node)], str(node), program, symbols),
        )
        for tensor, node in zip(declared, user_inputs, strict=True)
    )
    return PytorchModel(
        program=program,
        module=program.module(),
        inputs=ports,
        axes=symbols,
        output_names=_output_names(program, model.outputs),
        example=_example(program, ports),
    )


def _dtype(value: Any, node: str) -> DType:
    try:
        return DType.from_numpy(str(value.dtype).removeprefix("torch."))
    except (AttributeError, TypeError, InvalidValueError) as error:
        raise UnsupportedGraphError(
            f"Input {node!r} of the program is not a tensor of a type that can be served.",
            hint="Let forward() take plain tensors; bfloat16 only inside the model.",
        ) from error


def _dims(
    value: Any, node: str, program: Any, symbols: dict[str, AxisRange]
) -> tuple[int | str, ...]:
    import torch

    dims: list[int | str] = []
    for size in value.shape:
        if not isinstance(size, torch.SymInt):
            dims.append(int(size))
            continue
        expression = size.node.expr
        if not expression.is_symbol:
            raise UnsupportedGraphError(
                f"Input {node!r} has a size of {expression}, tied to another size.",
                hint="Give the model one input whose size the other can be computed from.",
            )
        bounds = program.range_constraints.get(expression)
        # torch writes 2 as the lower bound of every size that it did not see as 0 or 1, and
        # means "not specialised": such programs do take 1.
        low = int(bounds.lower) if bounds is not None else 1
        high = int(bounds.upper) if bounds is not None and bounds.upper.is_Integer else None
        symbols[str(expression)] = AxisRange(low=1 if low <= 2 else low, high=high)
        dims.append(str(expression))
    return tuple(dims)


def _output_names(program: Any, declared: tuple[DeclaredTensor, ...] | None) -> tuple[str, ...]:
    """Name the outputs: by the keys of a returned dict, else by the signature, else by position."""
    from torch.utils import _pytree

    outputs = list(program.graph_signature.user_outputs)
    spec = program.call_spec.out_spec
    answer = _pytree.tree_unflatten(list(range(len(outputs))), spec)
    if any(not isinstance(name, str) for name in outputs):
        raise UnsupportedGraphError(
            "The model returns a constant that is not a tensor.",
            hint="Let forward() return tensors only.",
        )
    if isinstance(answer, Mapping) and sorted(answer.values()) == list(range(len(outputs))):
        by_position = {position: str(key) for key, position in answer.items()}
        return tuple(by_position[position] for position in range(len(outputs)))
    names = [tensor.name for tensor in declared or ()]
    if len(names) == len(outputs) and all(names) and len(set(names)) == len(names):
        return tuple(names)
    if len(outputs) == 1:
        return ("output",)
    return tuple(f"output_{position}" for position in range(len(outputs)))


def _example(program: Any, ports: tuple[Port, ...]) -> Arrays | None:
    """The rows that the program was traced with: MLflow's input example, with its exact types."""
    if program.example_inputs is None:
        return None
    positional, keywords = program.example_inputs
    if keywords or len(positional) != len(ports):
        return None
    return {
        port.name: value.detach().numpy() for port, value in zip(ports, positional, strict=True)
    }


def _last_words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
