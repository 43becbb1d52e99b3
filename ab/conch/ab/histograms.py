"""Mergeable histograms on fixed grids: what quantiles and bounded scores are decided from.

A histogram on a grid that does not depend on the data is a sufficient statistic for everything
that is asked at the grid's points: it merges in any order, unlike a sample of values, and unlike
a sketch it says nothing wrong. What lies between two points is known to lie there and no better,
so whoever uses it takes the unfavourable end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import EvidenceError, InvalidStatisticError

GROWTH: Final = 1.01
"""Ratio of neighbouring points of the logarithmic grid: a quantile is known to 1%."""

SCORE_STEPS: Final = 100
"""Steps of the unit grid; scores that are multiples of 0.01 are kept exactly."""

_LOG_GROWTH: Final = math.log(GROWTH)
_LOWEST: Final = round(math.log(1e-9) / _LOG_GROWTH)
_HIGHEST: Final = round(math.log(1e15) / _LOG_GROWTH)


class Grid(StrEnum):
    """Which fixed grid a histogram counts on."""

    LOGARITHMIC = "logarithmic"
    """Bin i holds values in (GROWTH^(i-1), GROWTH^i]; latencies, sizes, amounts."""

    UNIT = "unit"
    """Bin 2k holds the value k/100, bin 2k+1 what lies between k/100 and (k+1)/100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many observations fell into each bin of a fixed grid.

    Attributes:
        grid: The grid.
        bins: Numbers of the bins that are not empty, rising.
        counts: Observations in each, as many as `bins`.
    """

    grid: Grid
    bins: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.bins) != len(self.counts) or any(count < 1 for count in self.counts):
            raise EvidenceError("A histogram needs one positive count for each of its bins.")
        if any(low >= high for low, high in zip(self.bins, self.bins[1:], strict=False)):
            raise EvidenceError("A histogram's bins must rise.")
        if self.grid is Grid.UNIT and self.bins and not _on_unit(self.bins[0], self.bins[-1]):
            raise EvidenceError(f"A score's bin lies outside 0..{2 * SCORE_STEPS}.")

    @classmethod
    def of(cls, values: ArrayLike, grid: Grid) -> Self:
        """Count a sample.

        Args:
            values: float64[n]; on the unit grid within [0, 1].
            grid: The grid.

        Raises:
            EvidenceError: A value is not finite, or outside the grid.
        """
        data = np.asarray(values, dtype=np.float64).ravel()
        if not np.isfinite(data).all():
            raise EvidenceError(
                "A sample holds NaN or an infinity.",
                hint="Decide what a missing value means before it is summarised.",
            )
        found, counts = np.unique(bins_of(data, grid), return_counts=True)
        return cls(grid=grid, bins=tuple(found.tolist()), counts=tuple(counts.tolist()))

    def __add__(self, other: Self) -> Self:
        if self.grid is not other.grid:
            raise EvidenceError("Histograms on different grids do not add up.")
        merged = dict(zip(self.bins, self.counts, strict=True))
        for number, count in zip(other.bins, other.counts, strict=True):
            merged[number] = merged.get(number, 0) + count
        rising = sorted(merged)
        return type(self)(
            grid=self.grid, bins=tuple(rising), counts=tuple(merged[number] for number in rising)
        )

    @property
    def n(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    def up_to(self, points: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many observations lie in the bins up to each of the given ones, int64[k]."""
        running = np.concatenate(([0], np.cumsum(np.asarray(self.counts, dtype=np.int64))))
        at = np.searchsorted(np.asarray(self.bins, dtype=np.int64), points, side="right")
        return np.asarray(running[at], dtype=np.int64)


def bins_of(values: NDArray[np.float64], grid: Grid) -> NDArray[np.int64]:
    """Return the bin of each value, int64[n].

    Values at or below 1e-9 share the logarithmic grid's first bin.

    Raises:
        EvidenceError: A score lies outside [0, 1].

    >>> bins_of(np.array([0.5, 1.0, 0.505]), Grid.UNIT).tolist()
    [100, 200, 101]
    """
    if grid is Grid.UNIT:
        if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
            raise EvidenceError("A score lies outside 0..1.")
        scaled = values * SCORE_STEPS
        whole = np.round(scaled)
        exact = np.abs(scaled - whole) < 1e-9
        return np.where(exact, 2 * whole, 2 * np.floor(scaled) + 1).astype(np.int64)
    if values.size and values.max() > 1e15:
        raise EvidenceError("A value is above 1e15.")
    logs = np.log(np.maximum(values, 1e-9)) / _LOG_GROWTH
    return np.clip(np.ceil(logs - 1e-9), _LOWEST, _HIGHEST).astype(np.int64)


def value_at(number: int) -> float:
    """Return the upper end of a bin of the logarithmic grid.

    >>> value_at(0)
    1.0
    """
    return math.exp(number * _LOG_GROWTH)


def steps_up(ratio: float) -> int:
    """Return the least number of logarithmic bins whose growth is at least `ratio`."""
    return math.ceil(_steps(ratio) - 1e-9)


def steps_down(ratio: float) -> int:
    """Return the largest number of logarithmic bins whose growth is at most `ratio`."""
    return math.floor(_steps(ratio) + 1e-9)


def _steps(ratio: float) -> float:
    if ratio <= 0:
        raise InvalidStatisticError(f"A ratio of {ratio} is no ratio of positive values.")
    return math.log(ratio) / _LOG_GROWTH


def _on_unit(first: int, last: int) -> bool:
    return first >= 0 and last <= 2 * SCORE_STEPS
