"""What answers that differ look like: a name for the kind of fault, read from the answers alone.

A guess that tells a person where to look first. It changes no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from .comparing import Tolerance, differences
from .decisions import are_probabilities

_FEW: Final = 0.2
_ROUNDING: Final = 1000.0
_MOST_COLUMNS: Final = 256


class FaultKind(StrEnum):
    """What it looks like."""

    NO_ANSWER = "no-answer"
    OVERFLOW = "overflow"
    SWAPPED_OUTPUTS = "swapped-outputs"
    COLUMN_ORDER = "column-order"
    POST_PROCESSING = "post-processing"
    AXIS = "axis"
    SCALE = "scale"
    BRANCH = "branch"
    ROUNDING = "rounding"
    VALUES = "values"


WORDS: Final[Mapping[FaultKind, str]] = {
    FaultKind.NO_ANSWER: "the converted model fails, or answers in another shape or type",
    FaultKind.OVERFLOW: "numbers overflow: NaN or infinity where the registered model has a number",
    FaultKind.SWAPPED_OUTPUTS: "outputs changed places",
    FaultKind.COLUMN_ORDER: "the columns (classes) are in another order",
    FaultKind.POST_PROCESSING: "a last step such as softmax or sigmoid is missing or was added",
    FaultKind.AXIS: "probabilities are normalised over another axis than the classes",
    FaultKind.SCALE: "all answers are off by one factor and one constant",
    FaultKind.BRANCH: "a few rows take another branch, while all others agree: a threshold",
    FaultKind.ROUNDING: "small differences everywhere: coarser arithmetic, or a changed constant",
    FaultKind.VALUES: "other weights, or another structure",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All rows of one output, joined over cases.

    Attributes:
        expected: The source's answers, rows first.
        found: The other's, of the same shape.
        tolerance: See `comparing`.
        scale: See `comparing.scale_of`.
    """

    expected: np.ndarray
    found: np.ndarray
    tolerance: Tolerance
    scale: float

    def agrees(self, found: np.ndarray, expected: np.ndarray | None = None) -> bool:
        """Tell whether other arrays would agree, in 99 of 100 elements."""
        want = self.expected if expected is None else expected
        if want.shape != found.shape or not want.size:
            return False
        diff = differences(want, found, self.tolerance, scale=self.scale)
        return diff.mismatches <= 0.01 * want.size


def fault_kind(name: str, outputs: Mapping[str, Compared]) -> FaultKind:
    """Name what the difference of one output looks like.

    Args:
        name: The output.
        outputs: Every output that could be compared.
    """
    one = outputs.get(name)
    if one is None or not one.expected.size:
        return FaultKind.NO_ANSWER
    with np.errstate(all="ignore"):  # wrong answers may be of any size
        return _looked_at(name, one, outputs)


def _looked_at(name: str, one: Compared, outputs: Mapping[str, Compared]) -> FaultKind:
    for other_name, other in outputs.items():
        if other_name != name and one.agrees(one.found, other.expected):
            return FaultKind.SWAPPED_OUTPUTS
    want, have = one.expected, one.found
    if want.dtype.kind not in "f":
        return _discrete(one)
    finite = np.isfinite(want)
    if np.count_nonzero(finite & ~np.isfinite(have)):
        return FaultKind.OVERFLOW
    if _other_columns(one):
        return FaultKind.COLUMN_ORDER
    if _other_step(one):
        return FaultKind.POST_PROCESSING
    if are_probabilities(want) and not _rows_sum_to_one(have):
        return FaultKind.AXIS
    if _one_factor(one):
        return FaultKind.SCALE
    diff = differences(want, have, one.tolerance, scale=one.scale)
    rows = diff.excess.reshape(len(want), -1).max(axis=1)
    if np.mean(rows > 1) <= _FEW and np.median(rows) < 0.1:
        return FaultKind.BRANCH
    return FaultKind.ROUNDING if rows.max() < _ROUNDING else FaultKind.VALUES


def _discrete(one: Compared) -> FaultKind:
    """Labels and other values that are equal or not."""
    unequal = np.asarray(one.expected != one.found).reshape(len(one.expected), -1).any(axis=1)
    pairs = {
        (str(a), str(b))
        for a, b in zip(one.expected.reshape(-1), one.found.reshape(-1), strict=True)
    }
    if len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
        return FaultKind.COLUMN_ORDER  # each label became one other label
    return FaultKind.BRANCH if unequal.mean() <= _FEW else FaultKind.VALUES


def _other_columns(one: Compared) -> bool:
    want, have = one.expected, one.found
    if want.ndim != 2 or not 2 <= want.shape[1] <= _MOST_COLUMNS:
        return False
    left = list(range(want.shape[1]))
    order: list[int] = []
    for column in want.T.astype(np.float64):
        far = [float(np.abs(have[:, other] - column).mean()) for other in left]
        order.append(left.pop(int(np.argmin(far))))
    return order != sorted(order) and one.agrees(have[:, order])


def _other_step(one: Compared) -> bool:
    want, have = one.expected.astype(np.float64), one.found.astype(np.float64)
    if want.ndim < 2:
        want, have = want[:, None], have[:, None]
    shape = one.expected.shape
    dtype = one.expected.dtype
    tried = [_softmax(have), 1 / (1 + np.exp(-have)), np.exp(have), np.tanh(have)]
    tried.append(np.maximum(have, 0))
    added = [_softmax(want), 1 / (1 + np.exp(-want))]
    return any(one.agrees(step.reshape(shape).astype(dtype)) for step in tried) or any(
        one.agrees(one.found, step.reshape(shape).astype(dtype)) for step in added
    )


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _rows_sum_to_one(array: np.ndarray) -> bool:
    return bool(np.mean(np.abs(array.astype(np.float64).sum(axis=1) - 1) < 1e-3) > 0.9)


def _one_factor(one: Compared) -> bool:
    want, have = (array.reshape(-1).astype(np.float64) for array in (one.expected, one.found))
    kept = np.isfinite(want) & np.isfinite(have)
    if np.count_nonzero(kept) < 8 or np.ptp(want[kept]) == 0:
        return False
    spread = want[kept] - want[kept].mean()
    factor = float((spread * have[kept]).sum() / (spread**2).sum())
    constant = float(have[kept].mean() - factor * want[kept].mean())
    line = (factor * one.expected.astype(np.float64) + constant).astype(one.expected.dtype)
    return one.agrees(one.found, line)
