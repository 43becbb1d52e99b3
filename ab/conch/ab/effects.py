"""The difference that a treatment makes: its estimate, standard error and degrees of freedom.

An *arm* here is a mean with the variance of one unit. Ratio metrics get theirs by the delta
method over the assignment unit; a covariate takes out what was known before the assignment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .errors import CannotComputeError
from .moments import Counts, Moments, PairMoments

Scale = Literal["absolute", "relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm's mean, as the comparison needs it.

    Attributes:
        n: Number of units.
        mean: Mean, adjusted for the covariate where there is one.
        variance: Variance of one unit's (linearised, adjusted) value; `variance / n` is that of
            the mean.
        raw: Mean without adjustment: the denominator of a relative effect.
        theta: Weight of the covariate; 0 without one.
        covariance: Covariance of one unit's value and covariate; 0 without one.
        covariate_variance: Variance of the covariate; 0 without one.
        raw_variance: Variance of one unit's value without adjustment.
    """

    n: int
    mean: float
    variance: float
    raw: float
    theta: float = 0.0
    covariance: float = 0.0
    covariate_variance: float = 0.0
    raw_variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Treatment minus control, absolute or relative to the control.

    Attributes:
        estimate: The effect; on the relative scale 0.02 is two percent more.
        se: Its standard error.
        dof: Welch's degrees of freedom.
        n: Units in both arms together.
    """

    estimate: float
    se: float
    dof: float
    n: int


def arms_of_rates(control: Counts, treatment: Counts) -> tuple[Arm, Arm]:
    """Return both arms of a proportion, with the binomial variance p (1 - p)."""

    def arm(counts: Counts) -> Arm:
        rate = counts.rate
        variance = rate * (1.0 - rate)
        return Arm(n=counts.units, mean=rate, variance=variance, raw=rate, raw_variance=variance)

    return arm(control), arm(treatment)


def arms_of_means(control: Moments, treatment: Moments) -> tuple[Arm, Arm]:
    """Return both arms of a mean per unit."""

    def arm(moments: Moments) -> Arm:
        variance = moments.variance
        return Arm(
            n=moments.n,
            mean=moments.mean,
            variance=variance,
            raw=moments.mean,
            raw_variance=variance,
        )

    return arm(control), arm(treatment)


def arms_of_ratios(control: PairMoments, treatment: PairMoments) -> tuple[Arm, Arm]:
    """Return both arms of a ratio of sums, x over y, by the delta method.

    The variance of one unit is that of (x - R y) / mean(y), R the arm's ratio.

    Raises:
        CannotComputeError: An arm's denominator adds up to zero.
    """

    def arm(pair: PairMoments) -> Arm:
        if pair.mean_y == 0.0:
            raise CannotComputeError("An arm's denominator adds up to zero.")
        ratio = pair.mean_x / pair.mean_y
        variance = (
            pair.variance_x - 2.0 * ratio * pair.covariance + ratio**2 * pair.variance_y
        ) / pair.mean_y**2
        variance = max(0.0, variance)
        return Arm(n=pair.n, mean=ratio, variance=variance, raw=ratio, raw_variance=variance)

    return arm(control), arm(treatment)


def arms_with_covariate(control: PairMoments, treatment: PairMoments) -> tuple[Arm, Arm]:
    """Return both arms of a mean adjusted by a covariate from before the assignment (CUPED).

    One theta for both arms, cov(x, y) / var(y) of the pooled sample (Deng et al. 2013); a
    covariate without variance adjusts nothing.
    """
    pooled = control + treatment
    theta = pooled.c_xy / pooled.m2_y if pooled.m2_y > 0.0 and pooled.m2_x > 0.0 else 0.0

    def arm(pair: PairMoments) -> Arm:
        variance = pair.variance_x + theta**2 * pair.variance_y - 2.0 * theta * pair.covariance
        return Arm(
            n=pair.n,
            mean=pair.mean_x - theta * pair.mean_y,
            variance=max(0.0, variance),
            raw=pair.mean_x,
            theta=theta,
            covariance=pair.covariance,
            covariate_variance=pair.variance_y,
            raw_variance=pair.variance_x,
        )

    return arm(control), arm(treatment)


def effect_of(control: Arm, treatment: Arm, scale: Scale = "relative") -> Effect:
    """Compare two arms.

    On the relative scale the variance is that of the ratio by the delta method; with a covariate
    it carries the covariance with the baseline in the denominator.

    Raises:
        CannotComputeError: An arm has no variance, or the control's mean is zero and the scale
            relative.
    """
    if control.variance <= 0.0 or treatment.variance <= 0.0:
        raise CannotComputeError(
            "An arm's values are all alike: there is no variance to judge a difference by."
        )
    difference = treatment.mean - control.mean
    by_control, by_treatment = control.variance / control.n, treatment.variance / treatment.n
    dof = (by_control + by_treatment) ** 2 / (
        _square_over(by_control, control.n - 1) + _square_over(by_treatment, treatment.n - 1)
    )
    n = control.n + treatment.n
    if scale == "absolute":
        se = math.sqrt(by_control + by_treatment)
        return Effect(estimate=difference, se=se, dof=dof, n=n)
    if control.raw == 0.0:
        raise CannotComputeError("The control's mean is zero: there is no relative effect.")
    growth = treatment.raw / control.raw
    control_part = (
        growth**2 * control.raw_variance
        - 2.0 * growth * control.theta * control.covariance
        + control.theta**2 * control.covariate_variance
    )
    variance = (by_treatment + control_part / control.n) / control.raw**2
    return Effect(estimate=difference / control.raw, se=math.sqrt(max(0.0, variance)), dof=dof, n=n)


def _square_over(value: float, dof: int) -> float:
    return value**2 / dof if dof > 0 else math.inf
