"""Curved boundaries that a random walk crosses, ever, with probability at most alpha.

Names and parameters follow Howard, Ramdas, McAuliffe and Sekhon 2021 (arXiv:1810.08240): `s` is
the sum of centred observations, `v` its intrinsic time (variance process), `v_opt` the time at
which the boundary is made tightest for error level `alpha_opt`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from scipy import special

from .beta_tails import find_root, log_beta, log_lower_tail
from .errors import InvalidStatisticError, require_alpha

_LARGEST: Final = 1e300


def mixing_variance(v_opt: float, alpha: float, *, one_sided: bool = False) -> float:
    """Return rho of the normal mixture that is tightest at time `v_opt` (their section 3.5).

    >>> round(mixing_variance(100, 0.05), 6)
    12.600561
    """
    level = require_alpha(2.0 * alpha if one_sided else alpha)
    if v_opt <= 0:
        raise InvalidStatisticError(f"The tuning time is {v_opt}; it must be positive.")
    squared = -2.0 * math.log(level)
    return v_opt / (squared + math.log1p(squared))


def normal_log_mixture(
    s: float, v: float, *, v_opt: float, alpha_opt: float, one_sided: bool = False
) -> float:
    """Return the logarithm of the normal mixture supermartingale at (s, v)."""
    rho = mixing_variance(v_opt, alpha_opt, one_sided=one_sided)
    value = 0.5 * math.log(rho / (v + rho)) + s * s / (2.0 * (v + rho))
    if one_sided:
        value += math.log(2.0) + float(special.log_ndtr(s / math.sqrt(v + rho)))
    return value


def normal_mixture_bound(
    v: float, alpha: float, *, v_opt: float, alpha_opt: float, one_sided: bool = False
) -> float:
    """Return the normal mixture boundary at time v (two-sided: their equation 14)."""
    log_threshold = -math.log(require_alpha(alpha))
    if not one_sided:
        rho = mixing_variance(v_opt, alpha_opt)
        return math.sqrt((v + rho) * (math.log1p(v / rho) + 2.0 * log_threshold))
    return _crossing(
        lambda s: normal_log_mixture(s, v, v_opt=v_opt, alpha_opt=alpha_opt, one_sided=True),
        log_threshold,
    )


def gamma_exponential_log_mixture(
    s: float, v: float, *, v_opt: float, c: float, alpha_opt: float
) -> float:
    """Return the log mixture for sub-exponential walks of scale c (their proposition 9)."""
    rho = mixing_variance(v_opt, alpha_opt, one_sided=True)
    start, now, shifted = rho / c**2, (v + rho) / c**2, (c * s + v + rho) / c**2
    return (
        _gamma_constant(start, math.log(float(special.gammainc(start, start))))
        + math.lgamma(now)
        + math.log(float(special.gammainc(now, shifted)))
        - now * math.log(shifted)
        + (c * s + v) / c**2
    )


def gamma_exponential_mixture_bound(
    v: float, alpha: float, *, v_opt: float, c: float, alpha_opt: float
) -> float:
    """Return the gamma-exponential mixture boundary at time v."""
    return _crossing(
        lambda s: gamma_exponential_log_mixture(s, v, v_opt=v_opt, c=c, alpha_opt=alpha_opt),
        -math.log(require_alpha(alpha)),
    )


def gamma_poisson_log_mixture(
    s: float, v: float, *, v_opt: float, c: float, alpha_opt: float
) -> float:
    """Return the log mixture for sub-Poisson walks of scale c (their proposition 10)."""
    rho = mixing_variance(v_opt, alpha_opt, one_sided=True)
    start, now = rho / c**2, (v + rho) / c**2
    shifted = s / c + now
    return (
        _gamma_constant(start, math.log(float(special.gammaincc(start, start))))
        + math.lgamma(shifted)
        + math.log(float(special.gammaincc(shifted, now)))
        - shifted * math.log(now)
        + v / c**2
    )


def gamma_poisson_mixture_bound(
    v: float, alpha: float, *, v_opt: float, c: float, alpha_opt: float
) -> float:
    """Return the gamma-Poisson mixture boundary at time v."""
    return _crossing(
        lambda s: gamma_poisson_log_mixture(s, v, v_opt=v_opt, c=c, alpha_opt=alpha_opt),
        -math.log(require_alpha(alpha)),
    )


def beta_binomial_log_mixture(
    s: float,
    v: float,
    *,
    v_opt: float,
    g: float,
    h: float,
    alpha_opt: float,
    one_sided: bool = False,
) -> float:
    """Return the log mixture for walks with steps in [-g, h] (their proposition 7)."""
    rho = mixing_variance(v_opt, alpha_opt, one_sided=one_sided)
    r, width = max(rho - g * h, 1e-3 * g * h), g + h
    cut = h / width if one_sided else 1.0
    return (
        v / (g * h) * math.log(width)
        - (v + h * s) / (h * width) * math.log(g)
        - (v - g * s) / (g * width) * math.log(h)
        + _log_incomplete(cut, (r + v - g * s) / (g * width), (r + v + h * s) / (h * width))
        - _log_incomplete(cut, r / (g * width), r / (h * width))
    )


def beta_binomial_mixture_bound(
    v: float,
    alpha: float,
    *,
    v_opt: float,
    g: float,
    h: float,
    alpha_opt: float,
    one_sided: bool = False,
) -> float:
    """Return the beta-binomial mixture boundary at time v; at most v / g, the walk's own limit."""
    return _crossing(
        lambda s: beta_binomial_log_mixture(
            s, v, v_opt=v_opt, g=g, h=h, alpha_opt=alpha_opt, one_sided=one_sided
        ),
        -math.log(require_alpha(alpha)),
        limit=v / g,
    )


def poly_stitching_bound(
    v: float, alpha: float, *, v_min: float, c: float = 0.0, s: float = 1.4, eta: float = 2.0
) -> float:
    """Return the polynomial stitched boundary at time v (their equation 10)."""
    at = max(v, v_min)
    k1, k2 = stitching_constants(eta)
    ell = (
        s * math.log(math.log(eta * at / v_min))
        + math.log(float(special.zeta(s)) / math.log(eta) ** s)
        - math.log(require_alpha(alpha))
    )
    drift = k2 * c * ell
    return math.sqrt(k1 * k1 * at * ell + drift * drift) + drift


def stitching_constants(eta: float) -> tuple[float, float]:
    """Return k1 and k2 of the stitched boundaries for epochs that grow by a factor eta."""
    return (eta**0.25 + eta**-0.25) / math.sqrt(2.0), (math.sqrt(eta) + 1.0) / 2.0


def _gamma_constant(start: float, log_tail: float) -> float:
    return start * math.log(start) - math.lgamma(start) - log_tail


def _log_incomplete(x: float, a: float, b: float) -> float:
    return log_beta(a, b) + (log_lower_tail(x, a, b) if x < 1.0 else 0.0)


def _crossing(
    log_mixture: Callable[[float], float], log_threshold: float, *, limit: float | None = None
) -> float:
    """Return the positive s at which an increasing log mixture reaches the threshold."""
    if limit is None:
        limit = 1.0
        while log_mixture(limit) < log_threshold:
            limit *= 2.0
            if limit > _LARGEST:
                raise InvalidStatisticError("The mixture never reaches its threshold.")
    elif log_mixture(limit) < log_threshold:
        return limit
    return find_root(lambda s: log_mixture(s) - log_threshold, 0.0, limit)
