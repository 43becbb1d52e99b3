"""Mergeable sufficient statistics: counts, moments of one variable, moments of a pair.

Each is a commutative monoid: `+` merges two disjoint samples, the zero is the empty sample, and
any order of merging gives the statistics of the pooled sample. Second moments are kept about the
mean (Chan, Golub and LeVeque 1983, the pairwise update), never as a difference of two large sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from .errors import CannotComputeError, EvidenceError
from .histograms import Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many units were seen and how many of them had the event.

    Attributes:
        units: Units exposed: requests, or users where traffic is assigned per user.
        events: Units with the event; at most `units`.
    """

    units: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.units:
            raise EvidenceError(
                f"{self.events} events among {self.units} units: events must lie in 0..units.",
                hint="Count each unit once, as having the event or not.",
            )

    def __add__(self, other: Self) -> Self:
        return type(self)(units=self.units + other.units, events=self.events + other.events)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.units

    @property
    def rate(self) -> float:
        """Events per unit.

        Raises:
            CannotComputeError: There are no units.
        """
        return self.events / _some(self.units, "rate")

    def moments(self) -> Moments:
        """Return the same sample as moments of a 0/1 variable."""
        if not self.units:
            return Moments()
        rate = self.events / self.units
        return Moments(n=self.units, mean=rate, m2=self.events * (1.0 - rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean and sum of squared deviations of one variable.

    Attributes:
        n: Number of observations (assignment units).
        mean: Their mean; 0 for the empty sample.
        m2: Sum of squared deviations from the mean, in squared units of the variable.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def __post_init__(self) -> None:
        _check(self.n, self.m2)

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Summarise a sample.

        Args:
            values: float64[n]; NaN and infinities are refused.

        Raises:
            EvidenceError: A value is not finite.
        """
        data = _finite(values)
        if not data.size:
            return cls()
        mean = float(data.mean())
        return cls(n=data.size, mean=mean, m2=float(np.square(data - mean).sum()))

    @classmethod
    def from_sums(cls, *, n: int, total: float, squares: float) -> Self:
        """Take over another system's running sums; cancellation that they suffered stays."""
        if not n:
            return cls()
        return cls(n=n, mean=total / n, m2=max(0.0, squares - total * total / n))

    def __add__(self, other: Self) -> Self:
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        delta = other.mean - self.mean
        return type(self)(
            n=n,
            mean=self.mean + delta * other.n / n,
            m2=self.m2 + other.m2 + delta * delta * self.n * other.n / n,
        )

    @property
    def variance(self) -> float:
        """Unbiased sample variance.

        Raises:
            CannotComputeError: Fewer than two observations.
        """
        return self.m2 / (_some(self.n, "variance", least=2) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMoments:
    """Moments of two variables observed on the same units.

    Used for a ratio metric (x: numerator per unit, y: denominator per unit) and for a covariate
    (x: the metric after assignment, y: the same unit's value before it; Deng et al. 2013).

    Attributes:
        n: Number of units.
        mean_x: Mean of x.
        mean_y: Mean of y.
        m2_x: Sum of squared deviations of x.
        m2_y: Sum of squared deviations of y.
        c_xy: Sum of products of deviations.
    """

    n: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    m2_x: float = 0.0
    m2_y: float = 0.0
    c_xy: float = 0.0

    def __post_init__(self) -> None:
        _check(self.n, self.m2_x, self.m2_y)

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> Self:
        """Summarise paired samples.

        Args:
            x: float64[n].
            y: float64[n], the same units in the same order.

        Raises:
            EvidenceError: The lengths differ or a value is not finite.
        """
        first, second = _finite(x), _finite(y)
        if first.shape != second.shape:
            raise EvidenceError(f"Paired samples have {first.size} and {second.size} values.")
        if not first.size:
            return cls()
        mean_x, mean_y = float(first.mean()), float(second.mean())
        dx, dy = first - mean_x, second - mean_y
        return cls(
            n=first.size,
            mean_x=mean_x,
            mean_y=mean_y,
            m2_x=float(np.square(dx).sum()),
            m2_y=float(np.square(dy).sum()),
            c_xy=float((dx * dy).sum()),
        )

    @classmethod
    def from_sums(cls, *, n: int, x: float, y: float, xx: float, yy: float, xy: float) -> Self:
        """Take over another system's running sums; cancellation that they suffered stays."""
        if not n:
            return cls()
        return cls(
            n=n,
            mean_x=x / n,
            mean_y=y / n,
            m2_x=max(0.0, xx - x * x / n),
            m2_y=max(0.0, yy - y * y / n),
            c_xy=xy - x * y / n,
        )

    def __add__(self, other: Self) -> Self:
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.n * other.n / n
        return type(self)(
            n=n,
            mean_x=self.mean_x + dx * other.n / n,
            mean_y=self.mean_y + dy * other.n / n,
            m2_x=self.m2_x + other.m2_x + dx * dx * weight,
            m2_y=self.m2_y + other.m2_y + dy * dy * weight,
            c_xy=self.c_xy + other.c_xy + dx * dy * weight,
        )

    @property
    def variance_x(self) -> float:
        """Unbiased variance of x. Raises `CannotComputeError` below two units."""
        return self.m2_x / (_some(self.n, "variance", least=2) - 1)

    @property
    def variance_y(self) -> float:
        """Unbiased variance of y. Raises `CannotComputeError` below two units."""
        return self.m2_y / (_some(self.n, "variance", least=2) - 1)

    @property
    def covariance(self) -> float:
        """Unbiased covariance. Raises `CannotComputeError` below two units."""
        return self.c_xy / (_some(self.n, "covariance", least=2) - 1)


Statistic = Counts | Moments | PairMoments | Histogram
"""Whatever summarises one metric in one arm of one stage."""


def _some(n: int, what: str, *, least: int = 1) -> int:
    if n < least:
        raise CannotComputeError(f"A {what} needs at least {least} units; there are {n}.")
    return n


def _check(n: int, *squares: float) -> None:
    if n < 0 or any(not math.isfinite(value) or value < 0 for value in squares):
        raise EvidenceError("Moments need a count and finite sums of squares, none negative.")


def _finite(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    data = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(data).all():
        raise EvidenceError(
            "A sample holds NaN or an infinity.",
            hint="Decide what a missing value means before it is summarised.",
        )
    return data
