"""A Bayesian reading of an effect, for people; never a stopping rule.

Watching until the chance to win passes 95% has the error rate of peeking at a one-sided test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from .effects import Arm, Scale, effect_of
from .errors import InvalidStatisticError, require_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalPrior:
    """What is believed about a relative effect beforehand.

    Attributes:
        mean: Centre, on the relative scale.
        variance: Variance, on the relative scale; 0.09 lets most effects lie within 60%.
    """

    mean: float = 0.0
    variance: float = 0.09

    def __post_init__(self) -> None:
        if self.variance <= 0:
            raise InvalidStatisticError("A prior needs a positive variance.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What is believed about an effect afterwards.

    Attributes:
        mean: Posterior mean.
        sd: Posterior standard deviation.
        chance_to_win: Probability that the treatment is better.
        lower: Lower limit of the central credible interval.
        upper: Upper limit.
        risk_control: Expected loss from keeping the control.
        risk_treatment: Expected loss from choosing the treatment.
    """

    mean: float
    sd: float
    chance_to_win: float
    lower: float
    upper: float
    risk_control: float
    risk_treatment: float


def posterior_of(
    control: Arm,
    treatment: Arm,
    *,
    scale: Scale = "relative",
    prior: NormalPrior | None = None,
    lower_is_better: bool = False,
    alpha: float = 0.05,
) -> Posterior:
    """Return the normal posterior of an effect.

    Args:
        control: Control arm.
        treatment: Treatment arm.
        scale: Scale of the result; the prior is relative on either and is rescaled.
        prior: None for a flat prior.
        lower_is_better: Whether a negative effect is a win.
        alpha: One minus the credible interval's probability.

    Raises:
        CannotComputeError: The effect has no estimate or no standard error.
    """
    effect = effect_of(control, treatment, scale)
    unit = 1.0 if scale == "relative" else abs(control.raw)
    scaled = prior and NormalPrior(mean=prior.mean * unit, variance=prior.variance * unit**2)
    return normal_posterior(
        effect.estimate, effect.se**2, prior=scaled, lower_is_better=lower_is_better, alpha=alpha
    )


def normal_posterior(
    estimate: float,
    variance: float,
    *,
    prior: NormalPrior | None = None,
    lower_is_better: bool = False,
    alpha: float = 0.05,
) -> Posterior:
    """Return the posterior of an effect whose likelihood is N(estimate, variance).

    Args:
        estimate: The effect's estimate.
        variance: Square of its standard error.
        prior: On the same scale; None for a flat prior.
        lower_is_better: Whether a negative effect is a win.
        alpha: One minus the credible interval's probability.
    """
    mean = estimate
    if prior is not None:
        precision = 1.0 / prior.variance + 1.0 / variance
        mean = (prior.mean / prior.variance + estimate / variance) / precision
        variance = 1.0 / precision
    sd = math.sqrt(variance)
    gain, loss = _expected_positive(mean, sd), _expected_positive(-mean, sd)
    width = float(special.ndtri(1.0 - require_alpha(alpha) / 2.0)) * sd
    better = -mean if lower_is_better else mean
    return Posterior(
        mean=mean,
        sd=sd,
        chance_to_win=float(special.ndtr(better / sd)),
        lower=mean - width,
        upper=mean + width,
        risk_control=loss if lower_is_better else gain,
        risk_treatment=gain if lower_is_better else loss,
    )


def _expected_positive(mean: float, sd: float) -> float:
    """Return E[max(X, 0)] of X ~ N(mean, sd^2)."""
    z = mean / sd
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return sd * density + mean * float(special.ndtr(z))
