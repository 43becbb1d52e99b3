"""Logarithms of Beta functions and Beta tails that stay finite where the tails underflow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from scipy import special

_SMALLEST: Final = 1e-280
_CONVERGED: Final = 1e-15


def log_beta(a: float, b: float) -> float:
    """Return ln B(a, b)."""
    return float(special.betaln(a, b))


def log_upper_tail(t: float, a: float, b: float) -> float:
    """Return ln P(theta > t) for theta ~ Beta(a, b)."""
    tail = float(special.betaincc(a, b, t))
    return math.log(tail) if tail > _SMALLEST else _log_small_tail(1.0 - t, b, a)


def log_lower_tail(t: float, a: float, b: float) -> float:
    """Return ln P(theta <= t) for theta ~ Beta(a, b)."""
    tail = float(special.betainc(a, b, t))
    return math.log(tail) if tail > _SMALLEST else _log_small_tail(t, a, b)


def find_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function changes sign between two bounds, to the last digits of a float.

    False position by Illinois' rule, with a bisection wherever that would leave the bracket, meets
    an infinity, or has not halved the bracket in three steps: a few evaluations where the function
    is smooth, and never worse than a few times bisection.
    """
    at_low, at_high = function(low), function(high)
    rising = at_low <= 0
    kept, width = 0, abs(high - low)
    for step in range(600):
        middle = 0.5 * (low + high)
        if middle in (low, high) or abs(high - low) <= _CONVERGED * abs(middle):
            break
        point = middle
        slow = step % 3 == 2 and abs(high - low) > 0.5 * width
        if step % 3 == 2:
            width = abs(high - low)
        if not slow and math.isfinite(at_low) and math.isfinite(at_high) and at_low != at_high:
            secant = low - at_low * (high - low) / (at_high - at_low)
            if min(low, high) < secant < max(low, high):
                point = secant
        value = function(point)
        if value == 0.0:
            return point
        if (value <= 0) == rising:
            low, at_low = point, value
            at_high *= 0.5 if kept == 1 else 1.0
            kept = 1
        else:
            high, at_high = point, value
            at_low *= 0.5 if kept == -1 else 1.0
            kept = -1
    return 0.5 * (low + high)


def _log_small_tail(x: float, a: float, b: float) -> float:
    """Return ln I_x(a, b) far in the lower tail by its continued fraction (DLMF 8.17.22)."""
    front = a * math.log(x) + b * math.log1p(-x) - math.log(a) - log_beta(a, b)
    return front - math.log(_fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate 1 + d1/(1 + d2/(1 + ...)) by Lentz's method; converges fast in the tail."""
    value = upper = 1.0
    lower = 0.0
    for step in range(1, 10_000):
        m, odd = divmod(step, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1.0 / (1.0 + term * lower)
        upper = 1.0 + term / upper
        value *= upper * lower
        if abs(upper * lower - 1.0) < _CONVERGED:
            break
    return value
