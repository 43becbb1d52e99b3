"""Tree ensembles for Triton's FIL backend, in the native flavour and by request.

FIL reads the frameworks' own files and computes in FP32: columns, thresholds and sums. A model
whose trees were trained on wider numbers may then answer another leaf for rows beside a split. The
rows at splits are there for that: the variant is compared as FIL computes, and refused where a row
flips.

FIL's tensors are called `input__0` and `output__0` and hold no labels. An ensemble gives them the
names and types that the ONNX graph has, with a graph for the columns before it and one for labels
behind it, so that callers see one model whichever way it is served.

FIL itself does not run here. What answers rows is the ensemble that was read from the framework,
evaluated in FP32 between those very graphs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from conch.core import DType, ModelFormat, Precision

from .fil_ensembles import Members, native_form
from .fil_files import checked_by_treelite, file_problem, write_file
from .formats import Making
from .single_trees import single_answers
from .sources import Arrays
from .steps import Step
from .tabular_models import LABEL, PREDICTION, PROBABILITIES, TabularModel
from .tree_ensembles import Link
from .variants import Variant

_NUMBERS: Final = frozenset({DType.FP32, DType.FP64, DType.INT64, DType.INT32})


@dataclass(frozen=True, slots=True)
class FilFormat:
    """The trees' own file, run by FIL within an ensemble."""

    name: ModelFormat = ModelFormat.FIL

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model."""
        del precision
        source = making.source
        if making.onnx is None:
            return "its signature is that of the ONNX graph, and there is none"
        if not isinstance(source, TabularModel) or source.trees is None:
            return "the model is not one ensemble of trees"
        if source.before is not None:
            return "other steps come before the trees"
        if not source.table.packed or source.table.ports[0].dtype not in _NUMBERS:
            return "its columns are not one tensor of numbers"
        if source.answers == (LABEL,):
            return "it answers labels without probabilities"
        linked = source.trees.link in (Link.LOGISTIC, Link.SOFTMAX)
        if source.classes is None and (linked or source.trees.outputs > 1):
            return "FIL has no regressors of several outputs, and no bare margins of a booster"
        return file_problem(source)

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Write the file and the graphs around it.

        Raises:
            UnsupportedGraphError: Treelite reads another model from the file.
        """
        source, base = making.source, making.onnx
        assert isinstance(source, TabularModel)
        assert base is not None
        kind, path = write_file(source, making.folder)
        (port,) = source.table.ports
        answers = PREDICTION if source.classes is None else PROBABILITIES
        step = checked_by_treelite(kind, path, making.answered, port.name, answers)
        members = Members.write(making.folder, source, kind, path)
        return (
            replace(
                base,
                format=self.name,
                precision=precision,
                files={path.name: path},
                coarsest=DType.FP32,
                structure=hashlib.sha256(f"fil {base.structure}".encode()).hexdigest(),
                session=SingleSession(source),
                portable="FIL is a backend of its own, which the Python backend does not have",
                native=native_form(members),
            ),
            (step,),
        )


class SingleSession:
    """The trees in FP32 with the labels that follow from them."""

    def __init__(self, source: TabularModel) -> None:
        assert source.trees is not None
        self._source, self._trees = source, source.trees

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows as the ensemble around FIL does."""
        (port,) = self._source.table.ports
        found = single_answers(self._trees, inputs[port.name])
        classes = self._source.classes
        if classes is None:
            return {PREDICTION: found[:, :1]}
        best = classes[found.argmax(axis=1)].reshape(-1, 1)
        if best.dtype.kind == "O":
            labels = np.empty(best.shape, dtype=object)
            labels[:, 0] = [str(item).encode() for item in best[:, 0]]
        else:
            labels = best.astype(np.int64)
        answers = {LABEL: labels, PROBABILITIES: found}
        return {name: answers[name] for name in self._source.answers}
