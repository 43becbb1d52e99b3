"""PyTorch modules that are not programs of `torch.export`: TorchScript archives, pickled modules.

TorchScript is a language of its own and runs no Python; a pickled module is Python code, and loaded
only where the operator trusts it. Both are exported here with the sizes that MLflow's signature
leaves open; where that fails, the model is still there to be asked, and says why.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DYNAMIC, DType

from .errors import (
    CorruptArtefactError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
)
from .mlflow_models import DeclaredTensor, MlflowModel
from .onnx_models import fitted
from .sources import Arrays, AxisRange, Port

BATCH: Final = "batch"
_TRACED_ROWS: Final = 2
"""PyTorch takes a size of one for a constant."""
_TRACED_SIZE: Final = 5


def is_torchscript(path: Path) -> bool:
    """Tell a TorchScript archive from a pickle: it brings code in its own language."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return any("/code/" in name for name in names) and any(
        name.endswith("/constants.pkl") for name in names
    )


def read_module(path: Path, model: MlflowModel, *, relog: str) -> Any:
    """Read a module, in inference mode, as MLflow's own serving puts it.

    Raises:
        PickledModelError: It is pickled, and the operator does not trust it.
        CorruptArtefactError: It cannot be read.
        UnsupportedGraphError: The file holds weights without the network.
    """
    import torch

    scripted = is_torchscript(path)
    if not scripted and not model.trusted:
        raise PickledModelError(
            "The model is pickled: loading it would run code that is stored in it.", hint=relog
        )
    try:
        if scripted:
            module = torch.jit.load(str(path), map_location="cpu")
        else:
            with stored_code(model):
                module = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling raises whatever the stored code raises
        raise CorruptArtefactError(
            f"{path.name} cannot be read by torch {torch.__version__}: {_last_words(error)}",
            hint="Log the model again; modules of its own belong into code_paths.",
        ) from error
    if isinstance(module, Mapping) or not callable(module):
        raise UnsupportedGraphError(
            f"{path.name} holds a {type(module).__name__}, not a module.",
            hint="A state dict has the weights without the network: log the module itself.",
        )
    return module.eval() if hasattr(module, "eval") else module


@contextlib.contextmanager
def stored_code(model: MlflowModel) -> Iterator[None]:
    """Let a trusted model import the modules that were logged with it (`code_paths`)."""
    config = model.flavours.get("python_function", {})
    folder = config.get("code")
    added = [str(model.file(str(folder)))] if folder else []
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            sys.path.remove(entry)


def declared_ports(
    declared: tuple[DeclaredTensor, ...], names: list[str]
) -> tuple[tuple[Port, ...], dict[str, AxisRange]]:
    """Return inputs as MLflow's signature has them.

    Args:
        declared: The signature's inputs.
        names: The names that the module has for them, for those that the signature does not name.

    Raises:
        UnsupportedGraphError: The signature names columns, not tensors.
    """
    axes: dict[str, AxisRange] = {}
    ports = []
    for place, tensor in enumerate(declared):
        if tensor.shape is None:
            raise UnsupportedGraphError(
                "The signature names columns; a PyTorch module takes tensors.",
                hint="Log it with an input_example that is an array.",
            )
        own = names[place] if place < len(names) else f"input_{place}"
        name = tensor.name or (own if len(declared) > 1 else own or "input")
        dims: list[int | str] = []
        for number, size in enumerate(tensor.shape):
            axis = BATCH if number == 0 else f"{name}_{number}"
            dims.append(axis if size == DYNAMIC else size)
            if size == DYNAMIC:
                axes[axis] = AxisRange()
        ports.append(Port(name=name, dtype=tensor.dtype, dims=tuple(dims)))
    return tuple(ports), axes


def argument_names(module: Any) -> list[str]:
    """Return the names of `forward`'s arguments; none where they cannot be told."""
    import inspect

    import torch

    if isinstance(module, torch.jit.ScriptModule):
        with contextlib.suppress(Exception):  # a module without a schema of its own
            return [argument.name for argument in module.forward.schema.arguments][1:]
        return []
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def traced_rows(ports: tuple[Port, ...], example: Arrays | None) -> tuple[Any, ...]:
    """Return tensors to export with: the example, two rows at least, or made-up ones."""
    import torch

    random = np.random.default_rng(0)
    found = []
    for port in ports:
        known = None if example is None else example.get(port.name)
        if known is not None:
            dynamic = bool(port.dims) and isinstance(port.dims[0], str)
            if dynamic and len(known) < _TRACED_ROWS:
                known = np.concatenate([known] * _TRACED_ROWS)
        else:
            shape = [
                size if isinstance(size, int) else (_TRACED_ROWS if place == 0 else _TRACED_SIZE)
                for place, size in enumerate(port.dims)
            ]
            known = random.random(shape)
        found.append(torch.from_numpy(np.ascontiguousarray(known, dtype=_numpy(port))))
    return tuple(found)


def export(module: Any, ports: tuple[Port, ...], rows: tuple[Any, ...]) -> tuple[Any | None, str]:
    """Export a module with every size open that the signature leaves open.

    Returns:
        The `torch.export.ExportedProgram`, or None with PyTorch's words why there is none.
    """
    import torch

    shapes = tuple(
        {
            place: torch.export.Dim.AUTO
            for place, size in enumerate(port.dims)
            if isinstance(size, str)
        }
        for port in ports
    )
    try:
        with _quiet():
            exportable = module
            if isinstance(module, torch.jit.ScriptModule):
                from torch._export.converter import TS2EPConverter

                exportable = TS2EPConverter(module, rows, {}).convert().module()
            program = torch.export.export(exportable, rows, dynamic_shapes=shapes)
    except Exception as error:  # PyTorch's compiler has no common class
        return None, f"PyTorch cannot export it: {_last_words(error)}"
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    for name, port in zip(program.graph_signature.user_inputs, ports, strict=True):
        for place, size in enumerate(port.dims):
            if isinstance(size, str) and not isinstance(
                values[str(name)].shape[place], torch.SymInt
            ):
                return None, (
                    f"PyTorch's export fixed dimension {place} of {port.name!r}, which the "
                    "signature leaves open"
                )
    return program, ""


def flat_names(answer: Any, declared: tuple[DeclaredTensor, ...] | None) -> tuple[str, ...]:
    """Name the tensors of an answer: by the keys of a mapping, by the signature, by position.

    Raises:
        UnsupportedGraphError: It is not made of tensors.
        SignatureMismatchError: The signature names another number of outputs.
    """
    import torch
    from torch.utils import _pytree

    leaves, spec = _pytree.tree_flatten(answer)
    if not leaves or any(not isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise UnsupportedGraphError(
            "The model returns something that is not a tensor.",
            hint="Let forward() return tensors only.",
        )
    number = len(leaves)
    placed = _pytree.tree_unflatten(list(range(number)), spec)
    if isinstance(placed, Mapping) and sorted(map(str, placed.values())) == sorted(
        map(str, range(number))
    ):
        by_place = {place: str(key) for key, place in placed.items()}
        return tuple(by_place[place] for place in range(number))
    said = [tensor.name for tensor in declared or ()]
    if said and len(said) != number:
        raise SignatureMismatchError(
            f"The signature names {len(said)} output(s), the model returns {number}.",
            hint="Log the model again with a signature that fits its forward().",
        )
    if said and all(said) and len(set(said)) == number:
        return tuple(said)
    if number == 1:
        return ("output",)
    return tuple(f"output_{position}" for position in range(number))


def example_for(model: MlflowModel, ports: tuple[Port, ...]) -> Arrays | None:
    """Return MLflow's input example as the ports' arrays; None if it does not fit."""
    try:
        return fitted(model.example, ports)
    except (TypeError, ValueError):
        return None


def _numpy(port: Port) -> Any:
    if port.dtype is DType.BYTES:
        raise UnsupportedGraphError(
            f"Input {port.name!r} is text, which PyTorch has no tensors of.",
            hint="Encode text as numbers before the model.",
        )
    return port.dtype.numpy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's remarks on its own converters out of the log."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _last_words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
