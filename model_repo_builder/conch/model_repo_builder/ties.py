"""Rows whose label is a tie prove nothing: rounding decides them in either model.

A classifier's label is the class of the largest probability. Where two probabilities are equal but
for rounding, the source's own label depends on the order in which it adds up. The probabilities of
such rows say all there is to say; to demand one label would refuse right models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from .output_reports import Answered
from .tabular_models import LABEL, PROBABILITIES

_CLOSE: Final = 2e-6
"""A few float32 steps of a probability."""


def untied(answered: Sequence[Answered]) -> tuple[Answered, ...]:
    """Put other rows of the same case in the place of rows whose best two classes tie.

    Sizes of cases stay. Answers without labels and probabilities stay as they are, and so does a
    case of nothing but ties.
    """
    return tuple(_untied(item) for item in answered)


def _untied(item: Answered) -> Answered:
    probabilities = item.expected.get(PROBABILITIES)
    if probabilities is None or LABEL not in item.expected or probabilities.shape[1] < 2:
        return item
    best = np.sort(probabilities, axis=1)
    clear = ~(best[:, -1] - best[:, -2] <= _CLOSE)
    if clear.all() or not clear.any():
        return item
    others = np.flatnonzero(clear)
    rows = np.where(clear, np.arange(len(clear)), np.resize(others, len(clear)))
    return Answered(
        case=replace(
            item.case, inputs={name: array[rows] for name, array in item.case.inputs.items()}
        ),
        expected={name: array[rows] for name, array in item.expected.items()},
    )
