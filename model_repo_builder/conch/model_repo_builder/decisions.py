"""How much of what a model decides is kept: order of rows, probabilities, nearness to a border."""

from __future__ import annotations

from typing import Final

import numpy as np

_SUM_TOLERANCE: Final = 1e-3
_FEWEST: Final = 8
_MOST_COLUMNS: Final = 64
NEAR: Final = 0.05
"""A margin between the best two columns, over the row's largest, that counts as near a border."""


def rank_correlation(expected: np.ndarray, found: np.ndarray) -> float | None:
    """Return the least Spearman correlation over the columns of an output.

    Args:
        expected: float[rows, ...]; what lies behind the first dimension counts as columns.
        found: The same shape.

    Returns:
        -1 to 1; None where fewer than 8 rows are finite, or no column of the source varies.

    >>> x = np.arange(10.0)[:, None]
    >>> rank_correlation(x, x**3), rank_correlation(x, -x)
    (1.0, -1.0)
    """
    want = expected.reshape(len(expected), -1).astype(np.float64)[:, :_MOST_COLUMNS]
    have = found.reshape(len(found), -1).astype(np.float64)[:, :_MOST_COLUMNS]
    rows = np.isfinite(want).all(axis=1) & np.isfinite(have).all(axis=1)
    if rows.sum() < _FEWEST:
        return None
    least: float | None = None
    for one, other in zip(want[rows].T, have[rows].T, strict=True):
        if np.ptp(one) == 0:
            continue
        first, second = ranks(one), ranks(other)
        spread = float(first.std() * second.std())
        value = float(np.mean((first - first.mean()) * (second - second.mean())))
        value = value / spread if spread else 0.0
        least = value if least is None else min(least, value)
    return None if least is None else round(least, 6)


def are_probabilities(array: np.ndarray) -> bool:
    """Tell whether an output of two columns or more looks like a distribution in every row."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f" or not len(array):
        return False
    wide = array.astype(np.float64)
    return bool(
        np.isfinite(wide).all()
        and (wide >= 0).all()
        and np.allclose(wide.sum(axis=1), 1, atol=_SUM_TOLERANCE)
    )


def drift(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the mean total variation between two distributions per row, 0 to 1.

    Half of the sum of absolute differences: the share of the probability that moved elsewhere.

    >>> drift(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]))
    0.1
    """
    moved = np.abs(found.astype(np.float64) - expected.astype(np.float64)).sum(axis=1) / 2
    moved = moved[np.isfinite(moved)]
    return float(round(moved.mean(), 12)) if moved.size else 1.0


def near_border(scores: np.ndarray) -> int:
    """Count the rows whose best two columns are close to each other.

    Args:
        scores: float[rows, columns], two columns or more.
    """
    if not len(scores):
        return 0
    best = np.sort(scores.astype(np.float64), axis=1)
    size = np.abs(best).max(axis=1)
    with np.errstate(invalid="ignore"):
        return int(np.count_nonzero(best[:, -1] - best[:, -2] <= NEAR * size))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties at their mean, float64[n]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.concatenate([begins, [len(values)]]))
    found = np.empty(len(values))
    found[order] = np.repeat(begins + (sizes - 1) / 2, sizes)
    return found
