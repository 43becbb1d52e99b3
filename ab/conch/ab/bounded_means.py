"""Confidence sequences for means of values that lie between 0 and 1, without any approximation.

Use them for scores and shares when units are few or values skewed, where the asymptotic sequences
of `sequences` are too optimistic.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .beta_tails import find_root
from .boundaries import beta_binomial_log_mixture
from .errors import CannotComputeError, InvalidStatisticError, require_alpha


def share_interval(
    successes: int,
    trials: int,
    *,
    alpha: float = 0.05,
    t_opt: float = 1_000.0,
    alpha_opt: float = 0.05,
) -> tuple[float, float]:
    """Return the confidence sequence of one probability from successes in trials so far.

    Inverts the beta-binomial mixture (Howard et al. 2021, proposition 7).

    Args:
        successes: Trials with the outcome.
        trials: Trials so far.
        alpha: Error level over all numbers of trials.
        t_opt: Number of trials at which the interval is tightest.
        alpha_opt: Level for which it is tuned.

    Raises:
        CannotComputeError: There are no trials.
    """
    if not 0 <= successes <= trials:
        raise InvalidStatisticError(f"{successes} successes in {trials} trials.")
    if not trials:
        raise CannotComputeError("There are no trials yet.")
    limit, share = -math.log(require_alpha(alpha)), successes / trials

    def excess(p: float) -> float:
        if not 0.0 < p < 1.0:
            return math.inf
        spread = p * (1.0 - p)
        value = beta_binomial_log_mixture(
            (share - p) * trials,
            spread * trials,
            v_opt=spread * t_opt,
            g=p,
            h=1.0 - p,
            alpha_opt=alpha_opt,
        )
        return value - limit

    lower = find_root(excess, 0.0, share) if successes else 0.0
    upper = find_root(excess, 1.0, share) if successes < trials else 1.0
    return lower, upper


def betting_interval(
    values: ArrayLike, *, alpha: float = 0.05, grid_points: int = 1_000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the hedged betting sequence after each value, as a running intersection.

    Two gamblers bet against each candidate mean m, one that the mean is higher, one that it is
    lower, with half the capital each; a mean whose gambler reaches 1/alpha is refuted
    (Waudby-Smith and Ramdas 2023, arXiv:2010.09686, section 4). Bets are the predictable
    empirical-Bernstein ones, cut at half of what could ruin the gambler.

    Args:
        values: float64[t] in [0, 1], in order of time.
        alpha: Error level over all times.
        grid_points: Resolution in m; limits are widened by one step.

    Returns:
        Lower and upper limits, float64[t] each.

    Raises:
        InvalidStatisticError: A value is outside [0, 1].
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size and not (np.isfinite(x).all() and x.min() >= 0.0 and x.max() <= 1.0):
        raise InvalidStatisticError("A betting sequence takes values between 0 and 1 only.")
    means = np.arange(grid_points + 1) / grid_points
    bets = _bets(x, require_alpha(alpha) / 2.0)
    limit = math.log(2.0 / alpha)
    gain, loss = np.zeros(means.shape), np.zeros(means.shape)
    lower, upper = np.zeros(x.shape), np.ones(x.shape)
    low, high = 0.0, 1.0
    with np.errstate(divide="ignore"):
        up_cap, down_cap = 0.5 / means, 0.5 / (1.0 - means)
    for step, (value, bet) in enumerate(zip(x, bets, strict=True)):
        gain += np.log1p(_stake(np.minimum(bet, up_cap), value - means))
        loss += np.log1p(-_stake(np.minimum(bet, down_cap), value - means))
        kept = np.flatnonzero(np.maximum(gain, loss) <= limit)
        if kept.size:
            low = max(low, means[kept[0]] - 1.0 / grid_points)
            high = min(high, means[kept[-1]] + 1.0 / grid_points)
        lower[step], upper[step] = low, high
    return lower, upper


def _bets(x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return bets that depend on earlier values only (their equation 26)."""
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum(np.square(x - mean))) / (t + 1)
    before = np.concatenate(([0.25], variance[:-1]))[: x.size]
    return np.sqrt(-2.0 * math.log(alpha) / (t * np.log1p(t) * before))


def _stake(bet: NDArray[np.float64], surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(bet * surprise, dtype=np.float64)
