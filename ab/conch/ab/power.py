"""How many units an experiment needs, how long that takes, and what it can find so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scipy import special

from .beta_tails import find_root
from .effects import Effect
from .errors import CannotComputeError, InvalidStatisticError, require_alpha
from .event_rates import (
    DEFAULT_CONCENTRATION,
    EventSplit,
    log_e_ratio_above,
    log_e_ratio_below,
    not_worse_prior,
)
from .sequences import DEFAULT_TUNING, half_width

_LARGEST_UNITS: Final = 1e12
_LARGEST_FACTOR: Final = 2.0**27


def effect_size_h(baseline: float, changed: float) -> float:
    """Return Cohen's h of two proportions, the difference of their arcsine transforms.

    >>> round(effect_size_h(0.1, 0.11), 8)
    0.0326294
    """
    return 2.0 * (math.asin(math.sqrt(changed)) - math.asin(math.sqrt(baseline)))


def units_for_proportions(
    baseline: float, effect: float, *, alpha: float = 0.05, power: float = 0.8, ratio: float = 1.0
) -> float:
    """Return control units for a two-sided test of two proportions on the arcsine scale.

    Args:
        baseline: Control proportion.
        effect: Absolute change to find.
        alpha: Error level.
        power: Probability of finding it.
        ratio: Treatment units per control unit.
    """
    h = abs(effect_size_h(baseline, baseline + effect))
    z = float(special.ndtri(1.0 - require_alpha(alpha) / 2.0))

    def reached(n: float) -> float:
        shift = h * math.sqrt(n * ratio / (1.0 + ratio))
        return float(special.ndtr(shift - z) + special.ndtr(-shift - z))

    return _least_units(reached, power)


def units_for_means(
    effect_size: float, *, alpha: float = 0.05, power: float = 0.8, ratio: float = 1.0
) -> float:
    """Return control units for a two-sided t test; `effect_size` is Cohen's d."""
    return _least_units(
        lambda n: power_for_means(effect_size, n, alpha=alpha, ratio=ratio), power, start=2.0
    )


def power_for_means(
    effect_size: float, n_control: float, *, alpha: float = 0.05, ratio: float = 1.0
) -> float:
    """Return the power of a two-sided t test with `n_control` and `ratio * n_control` units."""
    dof = n_control * (1.0 + ratio) - 2.0
    if dof <= 0:
        raise InvalidStatisticError(f"A t test needs more than {n_control} units.")
    shift = abs(effect_size) * math.sqrt(n_control * ratio / (1.0 + ratio))
    limit = float(special.stdtrit(dof, 1.0 - require_alpha(alpha) / 2.0))
    upper = 1.0 - float(special.nctdtr(dof, shift, limit))
    return upper + float(special.nctdtr(dof, shift, -limit))


def units_for_non_inferiority(
    rate: float, margin: float, *, alpha: float = 0.05, power: float = 0.9
) -> float:
    """Return units per arm to show that equal proportions differ by less than a margin.

    (z_alpha + z_power)^2 * 2 p (1 - p) / margin^2; alpha is one-sided.
    """
    z = float(special.ndtri(1.0 - require_alpha(alpha)) + special.ndtri(power))
    return z * z * 2.0 * rate * (1.0 - rate) / margin**2


def units_for_sequence(
    variance: float,
    effect: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    share: float = 0.5,
    tuning_n: float = DEFAULT_TUNING,
) -> float:
    """Return units in both arms until a confidence sequence excludes zero with given power.

    Args:
        variance: Variance of one unit.
        effect: Absolute effect to find.
        alpha: Error level over all looks.
        power: Probability of having found it by then.
        share: Share of units in the treatment.
        tuning_n: Units at which the sequence is tightest.
    """

    def reached(n: float) -> float:
        se = math.sqrt(variance / (n * share * (1.0 - share)))
        width = half_width(se, n, alpha=alpha, tuning_n=tuning_n)
        return float(special.ndtr((abs(effect) - width) / se))

    return _least_units(reached, power)


def units_to_show_not_worse(
    rate: float,
    margin: float,
    *,
    share: float,
    alpha: float = 0.05,
) -> int:
    """Return candidate units after which equal rates are typically shown to be within a margin.

    "Typically": when events arrive exactly as expected, close to the median over repetitions.

    Args:
        rate: Events per unit in both arms.
        margin: Tolerated worsening relative to the control, such as 0.25.
        share: Share of units in the candidate.
        alpha: Error level over all looks.
    """

    def found(units: int) -> bool:
        split = _expected_split(units, rate, rate, share)
        log_e = log_e_ratio_below([split], 1.0 + margin, prior=not_worse_prior(margin))
        return log_e > -math.log(require_alpha(alpha))

    return _first(found)


def units_to_find_harm(
    rate: float,
    ratio: float,
    *,
    share: float,
    guardrails: int = 1,
    alpha: float = 0.05,
    concentration: float = DEFAULT_CONCENTRATION,
) -> int:
    """Return candidate units after which a rate raised by `ratio` is typically proven harmful."""

    def found(units: int) -> bool:
        split = _expected_split(units, rate * ratio, rate, share)
        log_e = log_e_ratio_above([split], concentration=concentration)
        return log_e > math.log(guardrails / require_alpha(alpha))

    return _first(found)


def duration_s(units: float, units_per_s: float) -> float:
    """Return how long it takes for that many units to arrive.

    Raises:
        CannotComputeError: No units arrive.
    """
    if units_per_s <= 0:
        raise CannotComputeError("No units arrive: the experiment would never end.")
    return units / units_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class MidExperimentPower:
    """What an experiment in progress can find.

    Attributes:
        now: Power with the data so far.
        at_double: Power with twice the data.
        growth: Data still needed for the target power, as a multiple of the data so far; 0 when
            the target is reached, None when no multiple below 2^27 reaches it.
    """

    now: float
    at_double: float
    growth: float | None


def mid_experiment_power(
    effect: Effect,
    smallest: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    goals: int = 1,
    comparisons: int = 1,
    tuning_n: float | None = None,
) -> MidExperimentPower:
    """Return the power to find an effect of a given size, from the standard error so far.

    Args:
        effect: The effect as estimated; only its standard error and units are used.
        smallest: Smallest effect worth finding, on the same scale.
        alpha: Error level of the whole family.
        power: Target power of the whole family; each goal needs its root.
        goals: Number of goal metrics.
        comparisons: Treatments compared with the control.
        tuning_n: Tuning of the confidence sequence; None for a single test at the end.
    """
    level = require_alpha(alpha) / (goals * comparisons)
    target = power ** (1.0 / goals)

    def reached(growth: float) -> float:
        se = effect.se / math.sqrt(1.0 + growth)
        if tuning_n is None:
            width = float(special.ndtri(1.0 - level / 2.0)) * se
        else:
            width = half_width(se, effect.n * (1.0 + growth), alpha=level, tuning_n=tuning_n)
        size = abs(smallest)
        return float(special.ndtr((size - width) / se) + special.ndtr(-(size + width) / se))

    now = reached(0.0)
    growth: float | None = 0.0
    if now <= target:
        high = 1.0
        while reached(high) < target and high < _LARGEST_FACTOR:
            high *= 2.0
        growth = None
        if reached(high) >= target:
            growth = find_root(lambda factor: reached(factor) - target, 0.0, high)
    return MidExperimentPower(now=now, at_double=reached(1.0), growth=growth)


def _least_units(reached: Callable[[float], float], power: float, *, start: float = 1.0) -> float:
    high = start
    while reached(high) < power:
        high *= 2.0
        if high > _LARGEST_UNITS:
            raise CannotComputeError("No number of units below 1e12 reaches the power.")
    return high if high == start else find_root(lambda n: reached(n) - power, high / 2.0, high)


def _first(found: Callable[[int], bool]) -> int:
    high = 1
    while not found(high):
        high *= 2
        if high > _LARGEST_UNITS:
            raise CannotComputeError("No number of units below 1e12 is enough.")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _expected_split(units: int, candidate: float, control: float, share: float) -> EventSplit:
    return EventSplit(
        candidate=round(units * candidate),
        control=round(units * (1.0 - share) / share * control),
        share=share,
    )
