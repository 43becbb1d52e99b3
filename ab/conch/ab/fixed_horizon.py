"""Tests for one look at the end: diagnostics beside the sequential tests, never a stopping rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

from .effects import Effect
from .errors import CannotComputeError, require_alpha
from .moments import Counts

Side = Literal["two-sided", "greater", "less"]
"""The alternative: the effect differs from zero, lies above it, lies below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """An interval and the p-value that belongs to it.

    Attributes:
        lower: Lower confidence limit; minus infinity for the alternative `less`.
        upper: Upper confidence limit; infinity for the alternative `greater`.
        p_value: Probability of a result at least this extreme, were there no effect.
    """

    __test__ = False  # not a pytest class

    lower: float
    upper: float
    p_value: float


def welch_test(effect: Effect, *, alpha: float = 0.05, side: Side = "two-sided") -> TestResult:
    """Return Welch's t test of an effect against zero."""
    require_alpha(alpha)
    t = effect.estimate / effect.se
    if side == "two-sided":
        width = float(special.stdtrit(effect.dof, 1.0 - alpha / 2.0)) * effect.se
        return TestResult(
            lower=effect.estimate - width,
            upper=effect.estimate + width,
            p_value=2.0 * float(special.stdtr(effect.dof, -abs(t))),
        )
    width = float(special.stdtrit(effect.dof, 1.0 - alpha)) * effect.se
    if side == "greater":
        return TestResult(
            lower=effect.estimate - width,
            upper=math.inf,
            p_value=float(special.stdtr(effect.dof, -t)),
        )
    return TestResult(
        lower=-math.inf,
        upper=effect.estimate + width,
        p_value=float(special.stdtr(effect.dof, t)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NonInferiority:
    """A z test of two proportions against a margin relative to the control.

    Attributes:
        difference: Treatment rate minus control rate.
        null: The difference that the null hypothesis grants: the margin times the control rate.
        p_value: For "not worse than the margin".
        lower: One-sided limit of the difference; minus infinity where less is better.
        upper: One-sided limit of the difference; infinity where more is better.
        two_sided: The plain test of no difference.
    """

    difference: float
    null: float
    p_value: float
    lower: float
    upper: float
    two_sided: TestResult


def non_inferiority_test(
    control: Counts,
    treatment: Counts,
    *,
    margin: float,
    lower_is_better: bool,
    alpha: float = 0.05,
) -> NonInferiority:
    """Test whether a proportion is worse by less than a relative margin.

    Args:
        control: Control arm.
        treatment: Treatment arm.
        margin: Tolerated worsening relative to the control's rate, such as 0.02.
        lower_is_better: Whether fewer events are better.
        alpha: Error level.

    Raises:
        CannotComputeError: Neither arm has any variance.
    """
    require_alpha(alpha)
    p, q = control.rate, treatment.rate
    variance = p * (1.0 - p) / control.units + q * (1.0 - q) / treatment.units
    if variance <= 0.0:
        raise CannotComputeError("Neither arm varies: the test has no standard error.")
    se, difference = math.sqrt(variance), q - p
    null = margin * p if lower_is_better else -margin * p
    z = (difference - null) / se
    width = float(special.ndtri(1.0 - alpha)) * se
    wide = float(special.ndtri(1.0 - alpha / 2.0)) * se
    return NonInferiority(
        difference=difference,
        null=null,
        p_value=float(special.ndtr(z if lower_is_better else -z)),
        lower=-math.inf if lower_is_better else difference - width,
        upper=difference + width if lower_is_better else math.inf,
        two_sided=TestResult(
            lower=difference - wide,
            upper=difference + wide,
            p_value=2.0 * float(special.ndtr(-abs(difference / se))),
        ),
    )
