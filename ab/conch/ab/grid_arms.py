"""What one arm says about a quantile or a bounded mean, at every point of the logarithmic grid.

An arm's evidence "the parameter lies below (above) x" is an e-process against "it does not", as a
function of x on the grid x_j = GROWTH^j. Half of the capital is kept aside, so that no point's
evidence falls below one half however wrong a bet on it goes.

Quantiles: whether the share of values up to x differs from the level is a coin; its e-process is
the Beta mixture, cut off at the level, that `event_rates` uses (Howard and Ramdas 2022, section 3,
by the mixture of Howard et al. 2021, proposition 7).

Means of scores in [0, 1]: products of bets 1 + c (x - m) / m, and 1 + c (m - x) / (1 - m), averaged
over a fixed grid of c (Waudby-Smith and Ramdas 2023, arXiv:2010.09686, the grid mixture of section
B.3). A fixed mixture, unlike bets that follow the data, depends on the counts alone and not on the
order of arrival, so it can be computed from a histogram that was merged in any order. Nothing is
approximated by a normal distribution in either.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .errors import CannotComputeError, EvidenceError
from .event_rates import DEFAULT_CONCENTRATION
from .histograms import SCORE_STEPS, Grid, Histogram, steps_down, value_at

Points = NDArray[np.int64]
LogE = NDArray[np.float64]

_LOWEST_MEAN: Final = steps_down(1e-3)
_BETS: Final = 0.8 * 0.5 ** np.arange(10)
_HALF: Final = math.log(0.5)
_EDGE: Final = 3
_FAR: Final = 40.0


class GridArm(Protocol):
    """One arm's evidence on the logarithmic grid.

    Attributes:
        first: Point below which nothing changes.
        last: Point above which nothing changes.
    """

    first: int
    last: int

    @property
    def estimate(self) -> float:
        """The parameter's estimate."""
        ...

    def log_e_below(self, points: Points) -> LogE:
        """Return log e-values for "the parameter lies below x"; they grow with x."""
        ...

    def log_e_above(self, points: Points) -> LogE:
        """Return log e-values for "the parameter lies above x"; they fall with x."""
        ...


class QuantileArm:
    """One arm's evidence about a quantile fixed in advance."""

    def __init__(
        self,
        histogram: Histogram,
        level: float,
        *,
        concentration: float = DEFAULT_CONCENTRATION,
    ) -> None:
        """Read a histogram.

        Args:
            histogram: Values on the logarithmic grid.
            level: The quantile, such as 0.95.
            concentration: Weight of the prior, in observations.

        Raises:
            CannotComputeError: It is empty.
            EvidenceError: It is on another grid.
        """
        _require(histogram, Grid.LOGARITHMIC)
        self.first, self.last = histogram.bins[0] - _EDGE, histogram.bins[-1] + _EDGE
        points = np.arange(self.first, self.last + 1)
        below = histogram.up_to(points)
        above = histogram.n - below
        self.estimate = value_at(int(points[int(np.argmax(below >= level * histogram.n))]))
        # Far from the quantile the evidence only grows: its nearest computed value is no larger.
        far = _FAR * math.sqrt(histogram.n * level * (1.0 - level)) + _FAR
        near = np.flatnonzero(np.abs(below - level * histogram.n) <= far)
        first, last = (near[0], near[-1] + 1) if near.size else (0, points.size)
        part = slice(int(first), int(last))
        self._below = np.full(points.size, _HALF)
        self._above = np.full(points.size, _HALF)
        self._below[part] = _coin(below[part], above[part], level, concentration)
        self._above[part] = _coin(above[part], below[part], 1.0 - level, concentration)
        self._below[part.stop :] = self._below[part.stop - 1]
        self._above[: part.start] = self._above[part.start]

    def log_e_below(self, points: Points) -> LogE:
        """Return log e-values for "the quantile lies at or below x"."""
        return np.asarray(self._below[self._at(points)])

    def log_e_above(self, points: Points) -> LogE:
        """Return log e-values for "the quantile lies above x"."""
        return np.asarray(self._above[self._at(points)])

    def _at(self, points: Points) -> Points:
        return _within(points, self.first, self.last)


class ScoreArm:
    """One arm's evidence about the mean of scores between 0 and 1."""

    def __init__(self, histogram: Histogram) -> None:
        """Read a histogram.

        Args:
            histogram: Scores on the unit grid.

        Raises:
            CannotComputeError: It is empty.
            EvidenceError: It is on another grid.
        """
        _require(histogram, Grid.UNIT)
        self.first, self.last = _LOWEST_MEAN, -1
        bins, counts = np.asarray(histogram.bins), np.asarray(histogram.counts, dtype=np.float64)
        low = np.bincount(bins // 2, counts, SCORE_STEPS + 1).astype(np.float64)
        high = np.bincount((bins + 1) // 2, counts, SCORE_STEPS + 1).astype(np.float64)
        levels = np.arange(SCORE_STEPS + 1) / SCORE_STEPS
        self.estimate = float((low + high) @ levels / (2.0 * histogram.n))
        up, down = _log_payoffs()
        self._above, self._below = _hedged(_sums(low, up)), _hedged(_sums(high, down))

    def log_e_below(self, points: Points) -> LogE:
        """Return log e-values for "the mean lies below x"; nothing is claimed below 0.001."""
        found = self._below[_within(points, self.first, self.last)]
        return np.where(points < self.first, 0.0, found)

    def log_e_above(self, points: Points) -> LogE:
        """Return log e-values for "the mean lies above x"; no mean lies above 1."""
        found = self._above[_within(points, self.first, self.last)]
        return np.where(points > self.last, 0.0, found)


def _within(points: Points, first: int, last: int) -> Points:
    """Return the places of points in a table from first to last; `np.clip` takes twice as long."""
    return np.minimum(np.maximum(points, first), last) - first


def _sums(counts: LogE, log_payoffs: LogE) -> LogE:
    """Return the log of each bet's product, float64[bets, means], over the levels that occur."""
    occur = np.flatnonzero(counts)
    return np.asarray((counts[occur] @ log_payoffs[occur]).reshape(_BETS.size, -1))


def _coin(heads: Points, tails: Points, p: float, concentration: float) -> LogE:
    """Return log e-values for "heads are more likely than p", hedged."""
    a, b = concentration * p, concentration * (1.0 - p)
    with np.errstate(divide="ignore"):
        log_e = (
            special.betaln(a + heads, b + tails)
            + np.log(special.betaincc(a + heads, b + tails, p))
            - special.betaln(a, b)
            - math.log(float(special.betaincc(a, b, p)))
            - heads * math.log(p)
            - tails * math.log1p(-p)
        )
    return np.asarray(np.logaddexp(0.0, log_e) + _HALF)


def _hedged(log_products: LogE) -> LogE:
    """Average products over the bets (first axis) and with capital that is kept aside."""
    mean = special.logsumexp(log_products, axis=0) - math.log(len(_BETS))
    return np.asarray(np.logaddexp(0.0, mean) + _HALF)


@lru_cache(maxsize=1)
def _log_payoffs() -> tuple[LogE, LogE]:
    """Return the log payoffs of bets up and down, float64[score levels, bets * means]."""
    means = np.array([value_at(number) for number in range(_LOWEST_MEAN, 0)])[None, None, :]
    levels = (np.arange(SCORE_STEPS + 1) / SCORE_STEPS)[:, None, None]
    bets = _BETS[None, :, None]
    up = np.log1p(bets * (levels - means) / means)
    down = np.log1p(bets * (means - levels) / (1.0 - means))
    return up.reshape(levels.size, -1), down.reshape(levels.size, -1)


def _require(histogram: Histogram, grid: Grid) -> None:
    if histogram.grid is not grid:
        raise EvidenceError(f"A histogram on the {grid.value} grid is needed.")
    if not histogram.n:
        raise CannotComputeError("an arm has no values yet.")
