"""Models of tables: scikit-learn's, XGBoost's and LightGBM's, behind one source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .sources import Arrays, AxisRange, Port
from .tables import Table
from .tree_ensembles import TreeEnsemble

LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
PREDICTION: Final = "prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularModel:
    """A model of rows of columns.

    Attributes:
        flavour: MLflow's name of the framework.
        estimator: The framework's object.
        table: How columns travel.
        answer: From the framework's own kind of rows to raw answers by output name.
        widened: Whether numbers are widened to float64 before they reach the framework.
        answers: Names of the outputs, in order.
        columns_out: Columns of `prediction`; 1 for a classifier.
        classes: The labels of a classifier: int64[classes] or text; None for others.
        trees: The trees whose sums are the answer; None where others are, or not only trees.
        before: From rows to the float64[rows, columns] that the trees see; None where the trees see
            the columns themselves.
        missing: Whether NaN is a value like any other to the model.
        example: See `SourceModel`.
        doubt: Why agreement on rows proves little about this model; empty if nothing is known.
    """

    flavour: str
    estimator: Any
    table: Table
    answer: Callable[[Any], dict[str, np.ndarray]]
    widened: bool
    answers: tuple[str, ...]
    columns_out: int
    classes: np.ndarray | None
    trees: TreeEnsemble | None
    before: Callable[[Any], np.ndarray] | None
    missing: bool
    example: Arrays | None
    doubt: str = ""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """See `SourceModel`."""
        return self.table.ports

    @property
    def axes(self) -> dict[str, AxisRange]:
        """See `SourceModel`."""
        return self.table.axes

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows, in the types of the wire: labels INT64 or text, numbers FP32."""
        raw = self.answer(self.table.frame(inputs, widened=self.widened))
        return {name: _on_the_wire(name, array) for name, array in raw.items()}

    def seen_by_trees(self, inputs: Arrays) -> np.ndarray:
        """Return the float64[rows, columns] that the trees compare with their thresholds."""
        frame = self.table.frame(inputs, widened=self.widened)
        if self.before is not None:
            return self.before(frame)
        return np.asarray(inputs[self.table.ports[0].name], dtype=np.float64)


def label_array(classes: Any) -> np.ndarray:
    """Return class labels in the type that they have on the wire, before text becomes bytes.

    >>> label_array([False, True]).tolist()
    [0, 1]
    """
    array = np.asarray(classes)
    if array.dtype.kind in "biuf":
        return array.astype(np.int64)
    return np.array([str(item) for item in array.reshape(-1)], dtype=object)


def _on_the_wire(name: str, array: np.ndarray) -> np.ndarray:
    rows = len(array)
    if name != LABEL:
        return np.asarray(array, dtype=np.float32).reshape(rows, -1)
    labels = label_array(array).reshape(rows, 1)
    if labels.dtype.kind != "O":
        return labels
    found = np.empty(labels.shape, dtype=object)
    found[:, 0] = [item.encode() for item in labels[:, 0]]
    return found
