"""The last format: the model as it was logged, behind Triton's Python backend, by MLflow.

It converts nothing and gains nothing; it is there so that a model which no other format expresses
can be served at all, and with the same proof.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from conch.core import DType, ModelFormat, Precision

from .errors import UnsupportedGraphError
from .formats import Making
from .pyfunc_model import BATCHING, COLUMNS, MODEL, Child
from .pyfunc_models import PyfuncModel, interpreter
from .sources import Arrays
from .steps import Step
from .variants import MODEL_PY, PortableForm, Variant

_PROGRAM: Final = Path(__file__).with_name("pyfunc_model.py")
_NATIVE: Final = (
    "no image has the environment of the model; install its requirements into the image of the "
    "server and name that interpreter in the parameter `python` of the portable flavour"
)


class _ChildSession:
    """The program that serves, started as the server starts it."""

    def __init__(self, python: str, folder: Path) -> None:
        try:
            self._child = Child(python, str(folder))
        except (OSError, RuntimeError) as error:
            raise UnsupportedGraphError(
                f"The model does not start in its environment: {error!s:.400}",
                hint="Log it with what it imports in pip_requirements and code_paths.",
            ) from error

    def __del__(self) -> None:
        if hasattr(self, "_child"):
            self._child.close()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows."""
        feed = {name: inputs[name] for name in self._child.inputs}
        return dict(zip(self._child.outputs, self._child.run(feed), strict=True))


@dataclass(frozen=True, slots=True)
class PythonFormat:
    """MLflow's Python model, served by MLflow."""

    name: ModelFormat = ModelFormat.PYTHON

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model; empty if it does."""
        del precision
        if isinstance(making.source, PyfuncModel):
            return ""
        return f"the model is {making.source.flavour}, which has forms without Python"

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Lay the model out beside the program that serves it, and start that.

        Raises:
            UnsupportedGraphError: It does not start.
        """
        source = making.source
        assert isinstance(source, PyfuncModel)
        folder = making.folder
        shutil.copytree(source.path, folder / MODEL)
        (folder / COLUMNS).write_text(json.dumps(dict(source.columns), indent=1, sort_keys=True))
        shutil.copyfile(MODEL_PY, folder / BATCHING)
        shutil.copyfile(_PROGRAM, folder / "model.py")
        python = interpreter(making.request.environment_path)
        coarse = {port.dtype for port in (*source.inputs, *source.outputs)}
        variant = Variant(
            format=self.name,
            precision=precision,
            files={name: folder / name for name in (MODEL, COLUMNS, BATCHING)},
            inputs=source.inputs,
            outputs=source.outputs,
            coarsest=DType.FP32 if DType.FP64 not in coarse or DType.FP32 in coarse else DType.FP64,
            structure=_structure(source),
            session=_ChildSession(python, folder),
            portable=PortableForm(program=_PROGRAM, parameters={"python": python}),
            native=_NATIVE,
        )
        step = Step(name="python-model", taken=True, reason=f"served by MLflow with {python}")
        return variant, (step,)


def _structure(source: PyfuncModel) -> str:
    """Code has no structure to compare, so what it takes and answers stands for it."""
    facts = [repr(source.inputs), repr(source.outputs), json.dumps(dict(source.columns))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
