"""TorchScript by scripting, for PyTorch modules whose branches depend on values.

Scripting compiles the module's source, loops and branches included. Tracing, which records one run
and is silently wrong for another branch, is never used; a module that cannot be scripted is skipped
with PyTorch's own words.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from conch.core import DType, ModelFormat, Precision, Profile
from conch.triton_configs import BuildFacts, InstanceKind, native_pytorch

from .errors import UnsupportedGraphError
from .formats import Making
from .portable_model import SCRIPT_FILE, Script
from .pytorch_models import PytorchModel
from .sources import Arrays, Port
from .steps import Step
from .variants import NativeForm, NativeModel, Variant, portable_with

_OUTPUTS: Final = "outputs.json"


@dataclass(frozen=True, slots=True)
class TorchscriptFormat:
    """A scripted module, run by PyTorch."""

    name: ModelFormat = ModelFormat.TORCHSCRIPT

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model."""
        del precision
        source = making.source
        if not isinstance(source, PytorchModel):
            return f"the model is {source.flavour}, not PyTorch"
        if type(source.module).__name__ == "GraphModule" or hasattr(source.module, "graph_module"):
            return "the model is a program of torch.export, whose branches are fixed already"
        return ""

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Script the module, unless it is scripted already, and write `model.pt`.

        Raises:
            UnsupportedGraphError: PyTorch cannot script it, or it returns more than tensors.
        """
        import torch

        source = making.source
        assert isinstance(source, PytorchModel)
        module = source.module
        if not isinstance(module, torch.jit.ScriptModule):
            module = _scripted(module)
        names = [argument.name for argument in module.forward.schema.arguments][1:]
        wanted = [port.name for port in source.inputs]
        if names != wanted:
            raise UnsupportedGraphError(
                f"The module's forward() takes {names}, the signature names {wanted}.",
                hint="Triton finds TorchScript's inputs by the names of forward()'s arguments.",
            )
        path = making.folder / SCRIPT_FILE
        module.save(str(path), _extra_files={_OUTPUTS: json.dumps(list(source.output_names))})
        files = {SCRIPT_FILE: path}
        session = ScriptSession(Script(str(path)))
        return (
            Variant(
                format=self.name,
                precision=precision,
                files=files,
                inputs=source.inputs,
                outputs=_outputs(making),
                coarsest=_coarsest(module),
                structure=hashlib.sha256(_code(module).encode()).hexdigest(),
                session=session,
                portable=portable_with("torch", making.request.caps),
                native=_native(making.request.profile, files),
                tools={"torch": torch.__version__},
            ),
            (),
        )


class ScriptSession:
    """TorchScript as the generated `model.py` runs it.

    Args:
        engine: The loaded module.
    """

    def __init__(self, engine: Script) -> None:
        self._engine = engine

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows; raises what PyTorch raises for rows that the module does not take."""
        names = self._engine.outputs
        return dict(zip(names, self._engine.run(dict(inputs), names), strict=True))


def _scripted(module: Any) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.script(module)
    except Exception as error:  # PyTorch's compiler has no common class
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnsupportedGraphError(
            f"PyTorch cannot script the module: {lines[0] if lines else type(error).__name__:.300}",
            hint="Write forward() in the part of Python that torch.jit.script takes.",
        ) from error


def _outputs(making: Making) -> tuple[Port, ...]:
    """Describe the outputs by answers: TorchScript states neither types nor sizes."""
    ports = []
    for name, first in making.answered[0].expected.items():
        shapes = [one.expected[name].shape for one in making.answered]
        same = {shape[1:] for shape in shapes} if all(shapes) else set()
        dims: tuple[int | str, ...] = ("batch", *next(iter(same))) if len(same) == 1 else ()
        if not dims:
            rank = len(shapes[0])
            dims = tuple("batch" if place == 0 else f"{name}_{place}" for place in range(rank))
        dtype = DType.from_numpy(first.dtype)
        ports.append(Port(name=name, dtype=dtype, dims=dims))
    return tuple(ports)


def _coarsest(module: Any) -> DType:
    kinds = {str(tensor.dtype) for tensor in (*module.parameters(), *module.buffers())}
    return DType.FP16 if kinds & {"torch.float16", "torch.bfloat16"} else DType.FP32


def _code(module: Any) -> str:
    """The source of the module and of all within it: equal for two trainings."""
    text = io.StringIO()
    for name, one in module.named_modules():
        text.write(f"{name}: {one.original_name}\n{getattr(one, 'code', '')}\n")
    for name, tensor in module.state_dict().items():
        text.write(f"{name}: {tensor.dtype} {list(tensor.shape)}\n")
    return text.getvalue()


def _native(profile: Profile, files: dict[str, Any]) -> NativeForm:
    kind = InstanceKind.GPU if profile is Profile.GPU else InstanceKind.CPU

    def models(facts: BuildFacts) -> tuple[NativeModel, ...]:
        return (NativeModel(config=native_pytorch(kind=kind, **facts), files=files),)

    return NativeForm(
        backend="pytorch",
        models=models,
        note="the same file answered the rows here in PyTorch on the CPU",
    )
