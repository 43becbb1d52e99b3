"""Normal-mixture confidence sequences for means: valid at every look, in the limit of many units.

Robbins' mixture as a confidence sequence (Howard et al. 2021; Waudby-Smith et al. 2021,
arXiv:2103.06476, equations 14 and 140). Time is the number of units in both arms when the split
is constant; where the split changes, `balanced_units` is proportional to the information and
takes its place.

These are asymptotic: with a small arm and a skewed metric they are too optimistic until there are
enough units. The release decision therefore asks for a least number of units and takes the larger
of the arms' own and the pooled variance; rates of events belong in `event_rates`, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from scipy import special

from .boundaries import mixing_variance
from .effects import Effect
from .errors import InvalidStatisticError, require_alpha

DEFAULT_TUNING: Final = 5_000.0
"""Units in both arms at which the interval is tightest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceResult:
    """A confidence sequence at one moment.

    Attributes:
        lower: Lower limit, valid at every moment at once; minus infinity where one-sided.
        upper: Upper limit; infinity where one-sided.
        p_value: Always-valid p-value against no effect (two-sided only; None otherwise).
    """

    lower: float
    upper: float
    p_value: float | None


def sequence_rho(alpha: float, tuning_n: float, *, one_sided: bool = False) -> float:
    """Return the mixture's width parameter, rho; its square is 1 / `mixing_variance`."""
    return math.sqrt(1.0 / mixing_variance(tuning_n, alpha, one_sided=one_sided))


def half_width(
    se: float, n: float, *, alpha: float, tuning_n: float = DEFAULT_TUNING, one_sided: bool = False
) -> float:
    """Return the half-width of the sequence around the estimate.

    Args:
        se: Standard error of the effect.
        n: Units in both arms.
        alpha: Error level over all looks.
        tuning_n: Units at which the interval is tightest.
        one_sided: Whether only one side is limited.
    """
    if n <= 0:
        raise InvalidStatisticError(f"A confidence sequence over {n} units does not exist.")
    grown = n * sequence_rho(alpha, tuning_n, one_sided=one_sided) ** 2
    root = math.sqrt(grown + 1.0)
    log_term = math.log1p(root / (2.0 * alpha)) if one_sided else math.log(root / alpha)
    return se * math.sqrt(2.0 * (grown + 1.0) / grown * log_term)


def always_valid_p(
    z: float, n: float, *, alpha: float = 0.05, tuning_n: float = DEFAULT_TUNING
) -> float:
    """Return the always-valid p-value of a standardised effect (two-sided).

    `alpha` only places the mixture; the p-value may be compared with any level.
    """
    return math.exp(min(0.0, -log_e_normal(z, n, alpha=alpha, tuning_n=tuning_n)))


def log_e_normal(
    z: float,
    n: float,
    *,
    alpha: float = 0.05,
    tuning_n: float = DEFAULT_TUNING,
    side: Literal["two-sided", "greater"] = "two-sided",
) -> float:
    """Return the log e-value of a standardised effect against zero.

    Args:
        z: Estimate minus null value, over its standard error.
        n: Units in both arms, or balanced-equivalent units over stages.
        alpha: Level at which the mixture is tuned.
        tuning_n: Units at which it is tuned.
        side: `greater` mixes over positive effects only: evidence against "at most zero".
    """
    one_sided = side == "greater"
    grown = n * sequence_rho(alpha, tuning_n, one_sided=one_sided) ** 2
    value = z * z * grown / (2.0 * (grown + 1.0)) - 0.5 * math.log1p(grown)
    if one_sided:
        value += math.log(2.0) + float(special.log_ndtr(z * math.sqrt(grown / (grown + 1.0))))
    return value


def sequence_of(
    effect: Effect,
    *,
    alpha: float = 0.05,
    tuning_n: float = DEFAULT_TUNING,
    side: Literal["two-sided", "greater", "less"] = "two-sided",
) -> SequenceResult:
    """Return the confidence sequence of an effect now."""
    require_alpha(alpha)
    if side == "two-sided":
        width = half_width(effect.se, effect.n, alpha=alpha, tuning_n=tuning_n)
        z = effect.estimate / effect.se
        return SequenceResult(
            lower=effect.estimate - width,
            upper=effect.estimate + width,
            p_value=always_valid_p(z, effect.n, alpha=alpha, tuning_n=tuning_n),
        )
    width = half_width(effect.se, effect.n, alpha=alpha, tuning_n=tuning_n, one_sided=True)
    if side == "greater":
        return SequenceResult(lower=effect.estimate - width, upper=math.inf, p_value=None)
    return SequenceResult(lower=-math.inf, upper=effect.estimate + width, p_value=None)


def balanced_units(control: int, treatment: int) -> float:
    """Return how many units of a 50/50 split carry the same information.

    >>> balanced_units(500, 500), round(balanced_units(950, 50), 9)
    (1000.0, 190.0)
    """
    total = control + treatment
    return 4.0 * control * treatment / total if total else 0.0
