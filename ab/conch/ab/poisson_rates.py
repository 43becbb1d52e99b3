"""Two event rates over exposures compared once, for events that may repeat within a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .errors import CannotComputeError, InvalidStatisticError, require_alpha
from .sample_ratio import binomial_two_sided


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Events and what they are counted over.

    Attributes:
        events: Number of events.
        amount: Exposure, such as requests or seconds; positive.
    """

    events: int
    amount: float

    def __post_init__(self) -> None:
        if self.events < 0 or not self.amount > 0:
            raise InvalidStatisticError(f"{self.events} events over an exposure of {self.amount}.")


def rate_ratio_p_value(
    control: Exposure,
    treatment: Exposure,
    *,
    method: Literal["score", "etest-score", "exact-cond"] = "score",
) -> float:
    """Return the two-sided p-value of equal rates.

    `exact-cond` conditions on the number of events; `etest-score` sums the probability of counts
    at least as extreme by the score statistic (Krishnamoorthy and Thomson 2004).
    """
    if method == "score":
        return 2.0 * float(special.ndtr(-abs(_score(control, treatment, 1.0))))
    share = treatment.amount / (treatment.amount + control.amount)
    total = treatment.events + control.events
    if method == "exact-cond":
        return binomial_two_sided(treatment.events, total, share)
    observed = abs(_score(control, treatment, 1.0))
    x, p_x = _poisson_grid(total * share)
    y, p_y = _poisson_grid(total * (1.0 - share))
    odds = treatment.amount / control.amount
    with np.errstate(invalid="ignore"):
        z = (x[:, None] - y[None, :] * odds) / np.sqrt((x[:, None] + y[None, :]) * odds)
    extreme = np.nan_to_num(np.abs(z), nan=0.0) >= observed
    return float(np.sum((p_x[:, None] * p_y[None, :])[extreme]))


def ratio_below_p_value(control: Exposure, treatment: Exposure, *, bound: float) -> float:
    """Return the score p-value of "the treatment's rate is below `bound` times the control's"."""
    return float(special.ndtr(_score(control, treatment, bound)))


def score_ratio_interval(
    control: Exposure, treatment: Exposure, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Return the rate ratios that the score test does not reject, in closed form.

    The score statistic squared equals z squared at the roots of a quadratic in the odds.
    """
    if not control.events:
        raise CannotComputeError("The control has no events: the ratio's interval is unbounded.")
    z = float(special.ndtri(1.0 - require_alpha(alpha) / 2.0))
    x, y = treatment.events, control.events
    middle = 2.0 * x * y + z * z * (x + y)
    root = math.sqrt(max(0.0, middle * middle - 4.0 * x * x * y * y))
    scale = control.amount / treatment.amount
    return (
        (middle - root) / (2.0 * y * y) * scale,
        (middle + root) / (2.0 * y * y) * scale,
    )


def _score(control: Exposure, treatment: Exposure, ratio: float) -> float:
    total = treatment.events + control.events
    if not total:
        raise CannotComputeError("There are no events yet.")
    odds = ratio * treatment.amount / control.amount
    return (treatment.events - control.events * odds) / math.sqrt(total * odds)


def _poisson_grid(mean: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return counts that carry all but about 1e-15 of a Poisson's probability, and the latter."""
    reach = 9.0 * math.sqrt(mean) + 40.0
    counts = np.arange(max(0.0, math.floor(mean - reach)), math.ceil(mean + reach) + 1.0)
    log_p = special.xlogy(counts, mean) - mean - special.gammaln(counts + 1.0)
    return counts, np.exp(log_p)
