"""Several metrics at once: adjusted p-values, and families of e-values.

Roll-back family: each guardrail's harm is held against G / alpha (`e_bonferroni`), or their mean
against 1 / alpha (`log_mean_e`); both hold under any dependence between metrics. Promotion needs
*every* guardrail to pass, an intersection-union test, so it needs no correction, only power. Goals
get Holm when few decide, Benjamini-Hochberg when many are explored; other metrics stay out of
their family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .errors import InvalidStatisticError, require_alpha

Floats = NDArray[np.float64]


class Correction(StrEnum):
    """How p-values of one family are adjusted."""

    BONFERRONI = "bonferroni"
    HOLM = "holm"
    HOMMEL = "hommel"
    HOCHBERG = "simes-hochberg"
    BENJAMINI_HOCHBERG = "fdr_bh"
    BENJAMINI_YEKUTIELI = "fdr_by"


def adjusted(p_values: Sequence[float], correction: Correction) -> tuple[float, ...]:
    """Return adjusted p-values in the order given; at most alpha means rejected at alpha.

    >>> adjusted([0.01, 0.04, 0.03, 0.005], Correction.HOLM)
    (0.03, 0.06, 0.06, 0.02)
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.size and not ((p >= 0.0) & (p <= 1.0)).all():
        raise InvalidStatisticError("p-values lie between 0 and 1.")
    order = np.argsort(p, kind="stable")
    result = np.empty(p.shape)
    result[order] = np.minimum(_METHODS[correction](p[order]), 1.0)
    return tuple(float(value) for value in result)


def rejected(p_values: Sequence[float], correction: Correction, alpha: float) -> tuple[bool, ...]:
    """Return which hypotheses are rejected at a family level alpha."""
    require_alpha(alpha)
    return tuple(value <= alpha for value in adjusted(p_values, correction))


def e_bonferroni(log_e_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Return which e-values exceed G / alpha, G being their number."""
    threshold = math.log(len(log_e_values) / require_alpha(alpha)) if log_e_values else 0.0
    return tuple(value > threshold for value in log_e_values)


def e_benjamini_hochberg(log_e_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Return discoveries with false discovery rate alpha under any dependence (Wang, Ramdas 2022).

    The k largest are discoveries for the largest k whose k-th largest e-value is at least
    G / (alpha k).
    """
    logs = np.asarray(log_e_values, dtype=np.float64)
    size = logs.size
    descending = np.sort(logs)[::-1]
    needed = (
        math.log(size / require_alpha(alpha)) - np.log(np.arange(1, size + 1)) if size else logs
    )
    passing = np.flatnonzero(descending >= needed)
    if not passing.size:
        return (False,) * size
    least = descending[passing[-1]]
    return tuple(bool(value >= least) for value in logs)


def log_mean_e(log_e_values: Sequence[float]) -> float:
    """Return the log of the mean e-value: itself one for "all nulls hold", however dependent."""
    if not log_e_values:
        raise InvalidStatisticError("The mean of no e-values does not exist.")
    return float(special.logsumexp(np.asarray(log_e_values))) - math.log(len(log_e_values))


def _bonferroni(p: Floats) -> Floats:
    return p * p.size


def _holm(p: Floats) -> Floats:
    return np.asarray(np.maximum.accumulate(p * np.arange(p.size, 0, -1)))


def _hochberg(p: Floats) -> Floats:
    return _from_largest(p * np.arange(p.size, 0, -1))


def _benjamini_hochberg(p: Floats) -> Floats:
    return _from_largest(p * p.size / np.arange(1, p.size + 1))


def _benjamini_yekutieli(p: Floats) -> Floats:
    return _from_largest(
        p * p.size * float(np.sum(1.0 / np.arange(1, p.size + 1))) / np.arange(1, p.size + 1)
    )


def _hommel(p: Floats) -> Floats:
    """Hommel's method by Wright's 1992 algorithm, on sorted p-values."""
    n = p.size
    result = p.copy()
    for m in range(n, 1, -1):
        tail = p[n - m + 1 :]
        least = float(np.min(m * tail / np.arange(2, m + 1)))
        head = np.minimum(m * p[: n - m + 1], least)
        result[n - m + 1 :] = np.maximum(result[n - m + 1 :], least)
        result[: n - m + 1] = np.maximum(result[: n - m + 1], head)
    return result


def _from_largest(values: Floats) -> Floats:
    return np.asarray(np.minimum.accumulate(values[::-1])[::-1])


_METHODS: dict[Correction, Callable[[Floats], Floats]] = {
    Correction.BONFERRONI: _bonferroni,
    Correction.HOLM: _holm,
    Correction.HOMMEL: _hommel,
    Correction.HOCHBERG: _hochberg,
    Correction.BENJAMINI_HOCHBERG: _benjamini_hochberg,
    Correction.BENJAMINI_YEKUTIELI: _benjamini_yekutieli,
}
