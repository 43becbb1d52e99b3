"""Comparing the answers of two implementations of one model, element by element.

An element agrees when `|found - expected| <= rtol * |expected| + atol * scale`. `scale` is the
largest magnitude in the element's own row, or the median of that over all rows if it is larger: an
absolute tolerance that did not follow the magnitude of an output would accept anything from a model
whose answers are all near 1e-6, and refuse rounding in one whose answers are near 1e6.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from conch.core import DType, Precision

_SCALE_FLOOR: Final = 1e-7
_RELATIVE_FLOOR: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far the answers of one output may differ.

    Attributes:
        rtol: Of the expected element.
        atol: Of the scale of its row or output.
        why: The reason for these numbers.
        outside: Share of rows that may have elements beyond these two.
        labels: Least share of rows whose best column agrees.
        tie: Best columns closer than this share of their row's scale may change places; None to
            take twice `rtol` and `atol`.
        rank: Least rank correlation of a column with the source's; None to ask for none.
        drift: Largest mean change of a row's probabilities (total variation); None likewise.
        typical: Whether only typical rows are judged (`Case.typical`): numbers of few bits hold
            what calibration has seen, and clip what it has not.
    """

    rtol: float
    atol: float
    why: str
    outside: float = 0.0
    labels: float = 1.0
    tie: float | None = None
    rank: float | None = None
    drift: float | None = None
    typical: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote; what is left out takes its default."""
        return cls(**value)


EXACT: Final = Tolerance(rtol=0.0, atol=0.0, why="integers, booleans and text are equal or not")
SINGLE: Final = Tolerance(
    rtol=1e-4,
    atol=1e-5,
    why="float32 sums taken in another order differ by some 1e-7 of the scale; a changed constant "
    "or weight by 1e-3 and more",
)
DOUBLE: Final = Tolerance(rtol=1e-8, atol=1e-9, why="float64 all the way rounds at 1e-16")
HALF: Final = Tolerance(
    rtol=1e-2,
    atol=4e-3,
    why="float16 rounds at 5e-4, and runtimes differ in where they widen to float32",
)
BRAIN: Final = Tolerance(
    rtol=3e-2,
    atol=2e-2,
    tie=2e-2,
    rank=0.999,
    drift=0.01,
    why="bfloat16 rounds at 4e-3; measured on small networks: 8e-4 to 3e-3 of the scale",
)
EIGHT_BITS: Final = Tolerance(
    rtol=0.1,
    atol=0.1,
    outside=0.05,
    labels=0.99,
    tie=0.01,
    rank=0.98,
    drift=0.03,
    typical=True,
    why="8-bit integers have 256 steps; a well calibrated network keeps 99 % of its labels and "
    "moves few rows by more than a tenth of the scale",
)
FEW_LABELS: Final = Tolerance(
    rtol=0.0,
    atol=0.0,
    outside=0.01,
    typical=True,
    why="labels behind 8-bit integers: 99 % of the rows are equal",
)


def tolerance_for(
    dtype: DType, *, coarsest: DType, precision: Precision = Precision.FP32
) -> Tolerance:
    """Return the tolerance for an output.

    Args:
        dtype: The output's type.
        coarsest: The coarsest floating-point type of the graph's inputs and weights: an output
            computed in float16 and widened is no better than float16.
        precision: What the converted model computes in.
    """
    if dtype not in (DType.FP16, DType.FP32, DType.FP64):
        return FEW_LABELS if precision is Precision.INT8 else EXACT
    if precision is Precision.INT8:
        return EIGHT_BITS
    if precision is Precision.BF16:
        return BRAIN
    if precision is Precision.FP16 or DType.FP16 in (dtype, coarsest):
        return HALF
    return DOUBLE if dtype is DType.FP64 and coarsest is DType.FP64 else SINGLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """One output of one case, compared.

    Attributes:
        absolute: float64, the shape of the output; `|found - expected|`, 0 where both are the same
            non-finite value, inf where only one is.
        relative: The same over `max(|expected|, 1 % of the scale)`.
        excess: `absolute` over what is allowed; above 1 is a mismatch.
        non_finite: Elements where NaN or infinity stands on one side only.
    """

    absolute: np.ndarray
    relative: np.ndarray
    excess: np.ndarray
    non_finite: int

    @property
    def mismatches(self) -> int:
        """Number of elements that do not agree."""
        return int(np.count_nonzero(self.excess > 1))


def scale_of(arrays: list[np.ndarray]) -> float:
    """Return the typical magnitude of an output: the median over rows of the largest in a row."""
    scales = [_row_scales(np.atleast_1d(array)) for array in arrays if array.size]
    rows = np.concatenate(scales) if scales else np.zeros(1)
    rows = rows[rows > 0]
    return float(np.median(rows)) if rows.size else 0.0


def differences(
    expected: np.ndarray, found: np.ndarray, tolerance: Tolerance, *, scale: float
) -> Differences:
    """Compare two arrays of one shape.

    Raises:
        ValueError: The shapes differ.
    """
    if expected.shape != found.shape:
        raise ValueError(f"shape {list(found.shape)} instead of {list(expected.shape)}")
    if expected.dtype.kind not in "fiub" or tolerance.rtol == 0:
        return _exact(expected, found)
    want, have = np.atleast_1d(expected).astype(np.float64), np.atleast_1d(found).astype(np.float64)
    finite = np.isfinite(want) & np.isfinite(have)
    same = (np.isnan(want) & np.isnan(have)) | (want == have)
    with np.errstate(invalid="ignore", over="ignore"):
        absolute = np.where(finite, np.abs(have - want), np.where(same, 0.0, np.inf))
    rows = np.maximum(_row_scales(want), max(scale, _SCALE_FLOOR))
    rows = rows.reshape(-1, *[1] * (want.ndim - 1))
    size = np.where(np.isfinite(want), np.abs(want), 0.0)
    allowed = tolerance.rtol * size + tolerance.atol * rows
    return Differences(
        absolute=absolute.reshape(expected.shape),
        relative=(absolute / np.maximum(size, _RELATIVE_FLOOR * rows)).reshape(expected.shape),
        excess=(absolute / allowed).reshape(expected.shape),
        non_finite=int(np.count_nonzero(~finite & ~same)),
    )


def label_agreement(
    expected: np.ndarray, found: np.ndarray, tolerance: Tolerance, *, scale: float
) -> int:
    """Count the rows whose best column agrees; a tie within the tolerance agrees.

    Args:
        expected: float[rows, columns], two columns or more.
        found: The same shape.
        tolerance: See the module.
        scale: See `scale_of`.
    """
    want, have = expected.astype(np.float64), found.astype(np.float64)
    rows = np.arange(len(want))
    best, chosen = want.argmax(axis=1), have.argmax(axis=1)
    margin = want[rows, best] - want[rows, chosen]
    row_scale = np.maximum(_row_scales(want), max(scale, _SCALE_FLOOR))
    allowed = 2 * (tolerance.rtol * np.abs(want[rows, best]) + tolerance.atol * row_scale)
    if tolerance.tie is not None:
        allowed = tolerance.tie * row_scale
    with np.errstate(invalid="ignore"):
        return int(np.count_nonzero((best == chosen) | (margin <= allowed)))


def is_classifier(array: np.ndarray) -> bool:
    """Tell whether an output looks like one score per class: two dimensions, columns >= 2."""
    return array.ndim == 2 and array.shape[1] >= 2 and array.dtype.kind == "f"


def _row_scales(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiub" or array.size == 0:
        return np.zeros(len(array))
    flat = np.abs(array.reshape(len(array), -1).astype(np.float64))
    largest: np.ndarray = np.where(np.isfinite(flat), flat, 0.0).max(axis=1)
    return largest


def _exact(expected: np.ndarray, found: np.ndarray) -> Differences:
    unequal = np.asarray(expected != found, dtype=bool).reshape(expected.shape)
    numbers = expected.dtype.kind in "iub" and found.dtype.kind in "iub"
    far = np.abs(found.astype(np.float64) - expected.astype(np.float64)) if numbers else None
    absolute = np.where(unequal, np.inf, 0.0) if far is None else far.reshape(expected.shape)
    size = np.abs(expected.astype(np.float64)) if numbers else np.ones(expected.shape)
    return Differences(
        absolute=absolute,
        relative=absolute / np.maximum(size, 1.0),
        excess=np.where(unequal, np.inf, 0.0),
        non_finite=0,
    )
