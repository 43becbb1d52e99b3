"""Two proportions compared once: tests and intervals for the difference and the ratio.

Score methods use the maximum-likelihood proportions under the null and the factor n / (n - 1)
(Miettinen and Nurminen 1985). For reading beside the sequential tests.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from scipy import special

from .beta_tails import find_root
from .errors import CannotComputeError, require_alpha
from .moments import Counts

Method = Literal["score", "agresti-caffo", "wald"]
Restriction = Literal["exact", "statsmodels"]
"""How rates under a given difference are estimated: by maximum likelihood, or as statsmodels 0.15.0
does, whose cubic has the control's events where the published one has its units. The second exists
to compare figures with that library; the two differ by up to 2e-3 of an interval's limit."""

_LARGEST_RATIO: Final = 1e9


def difference_p_value(control: Counts, treatment: Counts, *, method: Method = "score") -> float:
    """Return the two-sided p-value of no difference.

    Raises:
        CannotComputeError: Neither arm varies.
    """
    if method == "score":
        return 2.0 * float(special.ndtr(-abs(_score_of_difference(control, treatment, 0.0))))
    if method == "agresti-caffo":
        control, treatment = _one_more_each(control), _one_more_each(treatment)
    z = (treatment.rate - control.rate) / _wald_se(control, treatment)
    return 2.0 * float(special.ndtr(-abs(z)))


def not_worse_p_value(
    control: Counts, treatment: Counts, *, margin: float, restriction: Restriction = "exact"
) -> float:
    """Return the score p-value of "the treatment's rate exceeds the control's by less than margin".

    Args:
        control: Control arm.
        treatment: Treatment arm, fewer events being better.
        margin: Absolute margin.
        restriction: See `Restriction`.
    """
    return float(special.ndtr(_score_of_difference(control, treatment, margin, restriction)))


def difference_interval(
    control: Counts,
    treatment: Counts,
    *,
    alpha: float = 0.05,
    method: Literal["score", "newcombe", "wald"] = "score",
    restriction: Restriction = "exact",
) -> tuple[float, float]:
    """Return the interval of treatment rate minus control rate."""
    z = _z(alpha)
    difference = treatment.rate - control.rate
    if method == "wald":
        width = z * _wald_se(control, treatment)
        return difference - width, difference + width
    if method == "newcombe":  # Newcombe 1998, method 10, from two Wilson intervals
        low, high = wilson_interval(treatment, alpha=alpha)
        low_control, high_control = wilson_interval(control, alpha=alpha)
        p, q = treatment.rate, control.rate
        return (
            difference - math.hypot(p - low, high_control - q),
            difference + math.hypot(high - p, q - low_control),
        )

    def score(null: float) -> float:
        return _score_of_difference(control, treatment, null, restriction)

    low, high = -1.0 + 1e-12, 1.0 - 1e-12
    if restriction == "statsmodels":  # its rates leave 0..1 far from the estimate
        near = difference_interval(control, treatment, alpha=alpha, method="newcombe")
        low, high = (difference + 2.0 * (limit - difference) for limit in near)
    return (
        find_root(lambda null: score(null) - z, low, difference),
        find_root(lambda null: score(null) + z, high, difference),
    )


def ratio_interval(
    control: Counts, treatment: Counts, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Return the score interval of treatment rate over control rate.

    Raises:
        CannotComputeError: An arm has no events.
    """
    if not (control.events and treatment.events):
        raise CannotComputeError("An arm has no events: the ratio's interval is not determined.")
    z, centre = _z(alpha), math.log(treatment.rate / control.rate)

    def score(log_ratio: float) -> float:
        return _score_of_ratio(control, treatment, math.exp(log_ratio))

    edge = math.log(_LARGEST_RATIO)
    return (
        math.exp(find_root(lambda at: score(at) - z, -edge, centre)),
        math.exp(find_root(lambda at: score(at) + z, edge, centre)),
    )


def wilson_interval(counts: Counts, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return Wilson's interval of one proportion."""
    z, n, p = _z(alpha), counts.units, counts.rate
    centre = (p + z * z / (2 * n)) / (1.0 + z * z / n)
    width = z / (1.0 + z * z / n) * math.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    return max(0.0, centre - width), min(1.0, centre + width)


def _score_of_difference(
    control: Counts, treatment: Counts, null: float, restriction: Restriction = "exact"
) -> float:
    difference = treatment.rate - control.rate
    if restriction == "exact" or null == 0.0:
        q = _restricted_control_rate(control, treatment, null)
    else:
        q = _cubic_control_rate(control, treatment, null)
    p = q + null
    variance = p * (1.0 - p) / treatment.units + q * (1.0 - q) / control.units
    return _standardised(difference - null, variance, control.units + treatment.units)


def _score_of_ratio(control: Counts, treatment: Counts, ratio: float) -> float:
    n, m = treatment.units, control.units
    a = (n + m) * ratio
    b = -(n * ratio + treatment.events + m + control.events * ratio)
    c = treatment.events + control.events
    q = (-b - math.sqrt(max(0.0, b * b - 4.0 * a * c))) / (2.0 * a)
    p = min(1.0, q * ratio)
    variance = p * (1.0 - p) / n + ratio**2 * q * (1.0 - q) / m
    return _standardised(treatment.rate - ratio * control.rate, variance, n + m)


def _restricted_control_rate(control: Counts, treatment: Counts, null: float) -> float:
    """Return the control's maximum-likelihood rate under a given difference.

    The likelihood is concave in the rate, so the root of its derivative is found by bisection.
    """
    low, high = max(0.0, -null), min(1.0, 1.0 - null)

    def slope(q: float) -> float:
        p = q + null
        return (
            _over(control.events, q)
            - _over(control.units - control.events, 1.0 - q)
            + _over(treatment.events, p)
            - _over(treatment.units - treatment.events, 1.0 - p)
        )

    return find_root(slope, low, high)


def _cubic_control_rate(control: Counts, treatment: Counts, null: float) -> float:
    """Return the control's rate under a given difference as statsmodels 0.15.0 computes it."""
    total = control.units + treatment.units
    events = control.events + treatment.events
    square = ((treatment.units + 2 * control.units) * null - total - events) / (3.0 * total)
    linear = ((control.events * null - total - 2 * control.events) * null + events) / (3.0 * total)
    constant = control.events * null * (1.0 - null) / total
    q = square**3 - 1.5 * square * linear + 0.5 * constant
    p = math.copysign(math.sqrt(max(0.0, square**2 - linear)), q)
    if p == 0.0:
        return min(1.0, max(0.0, -square))
    angle = (math.pi + math.acos(min(1.0, max(-1.0, q / p**3)))) / 3.0
    return 2.0 * p * math.cos(angle) - square


def _over(count: int, value: float) -> float:
    if not count:
        return 0.0
    return count / value if value > 0.0 else math.inf


def _standardised(value: float, variance: float, total: int) -> float:
    if variance <= 0.0:
        raise CannotComputeError("Neither arm varies: the test has no standard error.")
    return value / math.sqrt(variance * total / (total - 1))


def _wald_se(control: Counts, treatment: Counts) -> float:
    p, q = treatment.rate, control.rate
    variance = p * (1.0 - p) / treatment.units + q * (1.0 - q) / control.units
    if variance <= 0.0:
        raise CannotComputeError("Neither arm varies: the test has no standard error.")
    return math.sqrt(variance)


def _one_more_each(counts: Counts) -> Counts:
    return Counts(units=counts.units + 2, events=counts.events + 1)


def _z(alpha: float) -> float:
    return float(special.ndtri(1.0 - require_alpha(alpha) / 2.0))
