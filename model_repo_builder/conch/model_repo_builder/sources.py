"""The port between frameworks and everything else: a model that answers rows.

Each flavour of MLflow model has one loader that returns a `SourceModel`. Whatever comes after
(conversion, rows, verification) sees this port only, so that a new framework is one loader and one
converter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from conch.core import DType

Arrays = Mapping[str, np.ndarray]
"""Tensors by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input of a source model.

    Attributes:
        name: Its name.
        dtype: Element type.
        dims: All dimensions, the batch included: a size, or the name of an axis. Two dimensions
            of one name always have one size.
    """

    name: str
    dtype: DType
    dims: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisRange:
    """The sizes that a dynamic axis may take, as far as the model says; both ends included.

    Attributes:
        low: Smallest size.
        high: Largest size; None for no bound.
    """

    low: int = 1
    high: int | None = None


class SourceModel(Protocol):
    """A registered model, loaded by its own framework."""

    @property
    def flavour(self) -> str:
        """MLflow's name of the framework."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes, in its own order."""

    @property
    def axes(self) -> Mapping[str, AxisRange]:
        """Every axis that the inputs name."""

    @property
    def example(self) -> Arrays | None:
        """Rows that came with the model, by input name, with the inputs' types; None if none."""

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows, outputs by name in the model's own order.

        Raises:
            Exception: Whatever the framework raises for rows that the model does not take.
        """


def batch_axis(inputs: tuple[Port, ...]) -> str | None:
    """Return the axis that every input has first, which makes it the batch; None if none."""
    firsts = {port.dims[0] if port.dims else 0 for port in inputs}
    found = firsts.pop() if len(firsts) == 1 else 0
    return found if isinstance(found, str) else None
