"""Quantiles over time: confidence sequences by order statistics, and two-sample comparisons.

Howard and Ramdas 2022 (arXiv:1906.09712). For a latency guardrail prefer the share of requests
over a fixed threshold as an event rate, which needs counts only; quantiles are for reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .beta_tails import find_root
from .boundaries import (
    beta_binomial_log_mixture,
    beta_binomial_mixture_bound,
    stitching_constants,
)
from .effects import Arm
from .errors import CannotComputeError, InvalidStatisticError, require_alpha

_GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0
_Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileInterval:
    """Where a quantile lies, valid at every sample size at once.

    Attributes:
        lower: Lower limit; minus infinity while too few values lie below.
        upper: Upper limit; infinity while too few values lie above.
        lower_radius: Distance below the level, in probability.
        upper_radius: Distance above the level, in probability.
    """

    lower: float
    upper: float
    lower_radius: float
    upper_radius: float


def quantile_interval(
    values: ArrayLike,
    level: float,
    *,
    alpha: float = 0.05,
    t_opt: float = 1_000.0,
    alpha_opt: float = 0.05,
    close_open_sides: bool = False,
) -> QuantileInterval:
    """Return the confidence sequence of one quantile fixed in advance (their theorem 1b).

    Args:
        values: float64[t], all values seen so far.
        level: The quantile, such as 0.95.
        alpha: Error level over all sample sizes.
        t_opt: Sample size at which the interval is tightest.
        alpha_opt: Level for which it is tuned.
        close_open_sides: End the interval at the least or greatest value where even a sample
            entirely on one side would not refute a quantile beyond it. confseq 0.0.11 does so and
            then misses more often than alpha; for comparing figures with it only.
    """
    data = _sorted(values)
    t, spread = data.size, level * (1.0 - level)
    lower, upper = (
        beta_binomial_mixture_bound(
            spread * t, alpha, v_opt=spread * t_opt, g=g, h=1.0 - g, alpha_opt=alpha_opt
        )
        / t
        for g in (1.0 - level, level)
    )
    below = math.floor(t * (level - lower) + 1)
    above = math.ceil(t * (level + upper))
    open_below, open_above = (
        not close_open_sides and math.isclose(radius, limit, rel_tol=1e-12)
        for radius, limit in ((lower, level), (upper, 1.0 - level))
    )
    return QuantileInterval(
        lower=-math.inf if below < 1 or open_below else float(data[below - 1]),
        upper=math.inf if above > t or open_above else float(data[above - 1]),
        lower_radius=lower,
        upper_radius=upper,
    )


def quantile_p_value(
    control: ArrayLike,
    treatment: ArrayLike,
    level: float,
    *,
    t_opt: float = 1_000.0,
    alpha_opt: float = 0.05,
) -> float:
    """Return the always-valid p-value against equal quantiles in two samples (their section 6).

    Both arms carry a mixture e-value for "the quantile is x"; the null is as plausible as the x
    that both together speak against least.
    """
    first = _ArmEvidence(_sorted(control), level, t_opt, alpha_opt)
    second = _ArmEvidence(_sorted(treatment), level, t_opt, alpha_opt)
    if first.start > second.start:
        first, second = second, first
    inner = second.data[(second.data >= first.end) & (second.data <= second.start)]
    points = {first.end, second.start, *np.unique(inner).tolist()}
    least = min(first.log_e(x) + second.log_e(x) for x in points)
    return math.exp(min(0.0, -least))


def empirical_process_lil_bound(t: float, alpha: float, *, t_min: float, a: float = 0.85) -> float:
    """Return the radius around the whole distribution function at sample size t (theorem 2).

    Infinite before `t_min`.
    """
    if t < t_min:
        return math.inf
    growth = math.log1p(math.log(t / t_min))
    return a * math.sqrt((growth + _lil_constant(alpha, a)) / t)


def double_stitching_bound(
    level: float,
    t: float,
    alpha: float,
    *,
    t_opt: float,
    delta: float = 0.5,
    s: float = 1.4,
    eta: float = 2.0,
) -> float:
    """Return the radius, times t, around every quantile at once (their theorem 3)."""
    at = max(t, t_opt)
    logit = math.log(level / (1.0 - level))
    r = level
    if level < 0.5:
        r = min(0.5, float(special.expit(logit + 2.0 * delta * math.sqrt(t_opt * eta / at))))
    spread = r * (1.0 - r)
    k1, k2 = stitching_constants(eta)
    zeta = float(special.zeta(s))
    epochs = math.sqrt(at / t_opt) * abs(logit) / (2.0 * delta) + 1.0
    ell = (
        s * math.log(math.log(eta * at / t_opt))
        + s * math.log(epochs)
        + math.log(2.0 * zeta * (2.0 * zeta + 1.0) / (require_alpha(alpha) * math.log(eta) ** s))
    )
    drift = k2 * (1.0 - 2.0 * level) / 3.0 * ell
    return (
        delta * math.sqrt(eta * at * spread / t_opt)
        + math.sqrt(k1 * k1 * spread * at * ell + drift * drift)
        + drift
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileSummary:
    """A sample quantile with its order-statistic bounds, as a metrics store can keep it.

    Attributes:
        level: The quantile, such as 0.99.
        n: Number of values.
        quantile: Sample quantile.
        lower: Order statistic that bounds it from below with 95% confidence.
        upper: Order statistic that bounds it from above.
        n_bounds: Sample size for which the two bounds were taken, where it is not `n`.
    """

    level: float
    n: int
    quantile: float
    lower: float
    upper: float
    n_bounds: int | None = None

    def arm(self) -> Arm:
        """Return the quantile as an arm, its variance read off the width of the bounds.

        Raises:
            CannotComputeError: The sample is too small for so extreme a quantile, or the bounds
                coincide.
        """
        odds = self.level / (1.0 - self.level)
        if self.n <= _Z95**2 * max(odds, 1.0 / odds):
            raise CannotComputeError(
                f"{self.n} values do not determine the {self.level:g} quantile.",
                hint="Wait for more data or choose a less extreme quantile.",
            )
        used = self.n if self.n_bounds is None else self.n_bounds
        width = (self.upper - self.lower) / (2.0 * _Z95)
        variance = used / self.n * (self.n - 1) * width**2
        if variance <= 0.0 and self.n < 1_000:
            raise CannotComputeError("The quantile's bounds coincide: it has no standard error.")
        if self.n >= 100:
            variance = max(variance, 1e-5)
        return Arm(
            n=self.n,
            mean=self.quantile,
            variance=variance,
            raw=self.quantile,
            raw_variance=variance,
        )


class _ArmEvidence:
    """One arm's log e-value for "the quantile is x", as a function of x.

    It falls up to the interval [start, end] around the sample quantile and rises after it.
    """

    def __init__(
        self, data: NDArray[np.float64], level: float, t_opt: float, alpha_opt: float
    ) -> None:
        self.data = data
        n, spread = data.size, level * (1.0 - level)

        def at_share(share: float) -> float:
            return beta_binomial_log_mixture(
                (share - level) * n,
                spread * n,
                v_opt=spread * t_opt,
                g=level,
                h=1.0 - level,
                alpha_opt=alpha_opt,
            )

        self._at_share = at_share
        self._lowest = _minimiser(at_share, 0.0, 1.0)
        rank = self._lowest * n
        if abs(rank - round(rank)) < 1e-6:  # exactly between two order statistics
            rank = round(rank)
        self.start = float(data[min(n, max(1, math.ceil(rank))) - 1])
        self.end = float(data[min(n, math.floor(rank) + 1) - 1])

    def log_e(self, x: float) -> float:
        n = self.data.size
        if x < self.start:
            return self._at_share(int(np.searchsorted(self.data, x, side="right")) / n)
        if x > self.end:
            return self._at_share(int(np.searchsorted(self.data, x, side="left")) / n)
        return self._at_share(self._lowest)


def _lil_constant(alpha: float, a: float) -> float:
    """Return C for which their alpha(A, C), optimised over eta, equals alpha."""

    def error(c: float) -> float:
        def at(eta: float) -> float:
            squared = 2.0 / eta * (a - math.sqrt(2.0 * (eta - 1.0) / c)) ** 2
            if squared <= 1.0:
                return math.inf
            return 4.0 * math.exp(-squared * c) * (1.0 + 1.0 / ((squared - 1.0) * math.log(eta)))

        largest = find_root(
            lambda eta: math.sqrt(eta / 2.0) + math.sqrt(2.0 * (eta - 1.0) / c) - a,
            1.0,
            2.0 * a * a,
        )
        return at(_minimiser(at, 1.0 + 1e-12, largest))

    require_alpha(alpha)
    high = 5.0
    while error(high) > alpha:
        high *= 2.0
    return find_root(lambda c: error(c) - alpha, high / 1e3, high)


def _minimiser(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one minimum is least, by golden section."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-10 * max(1.0, abs(high)):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return 0.5 * (low + high)


def _sorted(values: ArrayLike) -> NDArray[np.float64]:
    data = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not data.size:
        raise CannotComputeError("An empty sample has no quantiles.")
    if not np.isfinite(data).all():
        raise InvalidStatisticError("A sample holds NaN or an infinity.")
    return data
