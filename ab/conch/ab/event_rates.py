"""Sequential tests of event rates by how events split between the arms.

Given which arm each event fell into, and that a unit goes to the candidate with probability
`share` regardless of everything else, the candidate's part of the events is a sequence of coin
flips whose bias tells the ratio of the two event rates: theta = share*r / (1 - share + share*r).
Nothing needs to be known about the rate itself, which may drift. Averaging the likelihood ratio
over a Beta prior gives an e-process: under the null its reciprocal is an error probability at
every moment at once (Lindon and Malek 2022, NeurIPS; Howard et al. 2021).

A change of the share starts a new *stage*. Evidence of the stages is multiplied, each stage with
its own share, and never pooled: with a baseline that drifts, pooling finds effects that are not
there. A later stage's prior is what the earlier stages taught about the ratio, moved to the new
share; it is fixed before the stage begins, so the product stays an e-process, and with an
unchanged share the product is the e-value of the pooled counts.

Everything is a logarithm: e-values overflow floats within minutes of a real incident.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from .beta_tails import find_root, log_beta, log_lower_tail, log_upper_tail
from .errors import CannotComputeError, InvalidStatisticError, require_alpha

DEFAULT_CONCENTRATION: Final = 100.0
"""Prior weight in events: finds ratios of 1.2 to 3; 10 suits very rare events."""

_WIDEST_LOG_RATIO: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSplit:
    """Events of one stage by arm.

    Attributes:
        candidate: Events among the candidate's units.
        control: Events among the control's units.
        share: Probability with which a unit goes to the candidate in this stage, in (0, 1); the
            planned one, since the observed one is not known when a unit is assigned.
    """

    candidate: int
    control: int
    share: float

    def __post_init__(self) -> None:
        if self.candidate < 0 or self.control < 0 or not 0.0 < self.share < 1.0:
            raise InvalidStatisticError(
                f"Events {self.candidate}/{self.control} at share {self.share}: counts must not "
                "be negative and the share must lie between 0 and 1."
            )

    @property
    def total(self) -> int:
        """Events in both arms."""
        return self.candidate + self.control

    def theta(self, ratio: float) -> float:
        """Return the probability that an event falls to the candidate at a given rate ratio."""
        return self.share * ratio / (1.0 - self.share + self.share * ratio)

    def log_likelihood(self, ratio: float) -> float:
        """Return the log likelihood of the split at a given rate ratio."""
        return _times_log(self.candidate, self.theta(ratio)) + _times_log(
            self.control, (1.0 - self.share) / (1.0 - self.share + self.share * ratio)
        )

    @property
    def mirrored(self) -> Self:
        """The same stage with the arms exchanged."""
        return type(self)(candidate=self.control, control=self.candidate, share=1.0 - self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioPrior:
    """Which rate ratios the evidence is to be strongest for.

    Attributes:
        centre: The ratio that is expected, such as 1 for "no change".
        log_sd: Standard deviation of its logarithm.
    """

    centre: float
    log_sd: float

    def __post_init__(self) -> None:
        if self.centre <= 0 or self.log_sd <= 0:
            raise InvalidStatisticError("A prior needs a positive ratio and deviation.")


def not_worse_prior(margin: float) -> RatioPrior:
    """Return the prior for showing that a candidate is within a relative margin.

    Centred on no change, half of the margin wide: against a prior at the margin it shows equality
    with a sixth fewer units (simulated), and any prior is equally valid.
    """
    return RatioPrior(centre=1.0, log_sd=0.5 * abs(math.log1p(margin)))


def log_e_equal(
    events: Sequence[int], shares: Sequence[float], *, concentration: float = DEFAULT_CONCENTRATION
) -> float:
    """Return the log e-value against equal event rates in any number of arms.

    The Dirichlet-multinomial mixture in closed form: ln B(k s + x) - ln B(k s) - sum x ln s.

    Args:
        events: Events per arm.
        shares: Exposure share per arm, adding up to 1, none zero.
        concentration: Prior weight k in events.

    Raises:
        InvalidStatisticError: Lengths differ, or a share is not positive or they do not add to 1.
    """
    if len(events) != len(shares) or abs(sum(shares) - 1.0) > 1e-9 or min(shares) <= 0.0:
        raise InvalidStatisticError(
            f"Shares {list(shares)} do not fit {len(events)} arms: one positive share per arm, "
            "adding up to 1."
        )
    total = sum(events)
    value = math.lgamma(concentration) - math.lgamma(concentration + total)
    for count, share in zip(events, shares, strict=True):
        value += math.lgamma(concentration * share + count) - math.lgamma(concentration * share)
        value -= count * math.log(share)
    return value


def log_e_ratio_above(
    stages: Sequence[EventSplit],
    bound: float = 1.0,
    *,
    concentration: float = DEFAULT_CONCENTRATION,
    prior: RatioPrior | None = None,
) -> float:
    """Return the log e-value for "the rate ratio is above `bound`".

    The null hypothesis is that the candidate's rate is at most `bound` times the control's, in
    every stage. Large values prove the candidate's rate to be higher than that.

    Args:
        stages: Stages in order of time.
        bound: Largest ratio that the null allows, above 0.
        concentration: Weight in events of a prior centred on `bound`.
        prior: Another prior, instead of that one.

    >>> stage = EventSplit(candidate=30, control=380, share=0.05)
    >>> round(log_e_ratio_above([stage]), 6)
    1.471219
    """
    value = 0.0
    for stage, a, b in _with_priors(stages, bound, concentration, prior):
        t = stage.theta(bound)
        x, y = stage.candidate, stage.control
        value += log_beta(a + x, b + y) + log_upper_tail(t, a + x, b + y)
        value -= log_beta(a, b) + log_upper_tail(t, a, b)
        value -= stage.log_likelihood(bound)
    return value


def log_e_ratio_below(
    stages: Sequence[EventSplit],
    bound: float = 1.0,
    *,
    concentration: float = DEFAULT_CONCENTRATION,
    prior: RatioPrior | None = None,
) -> float:
    """Return the log e-value for "the rate ratio is below `bound`".

    The null hypothesis is that the candidate's rate is at least `bound` times the control's: with
    `bound` at the margin, large values show that the candidate is not worse than the margin.
    """
    value = 0.0
    for stage, a, b in _with_priors(stages, bound, concentration, prior):
        t = stage.theta(bound)
        x, y = stage.candidate, stage.control
        value += log_beta(a + x, b + y) + log_lower_tail(t, a + x, b + y)
        value -= log_beta(a, b) + log_lower_tail(t, a, b)
        value -= stage.log_likelihood(bound)
    return value


def log_e_share_below(events: int, units: int, bound: float) -> float:
    """Return the log e-value for "the share of units with an event is below `bound`".

    The null hypothesis is that every unit has an event with probability at least `bound`. The
    likelihood ratio of a uniform prior on (0, bound) to the bound itself: under the null each
    unit's factor has a mean of at most 1, since fewer events than the bound's are what raises it
    (Ville 1939; the one-arm form of `log_e_ratio_below`). No control is needed, so it speaks where
    nothing ever fails: without an event it exceeds 20 at `bound` * units = 4.5.

    Raises:
        InvalidStatisticError: The bound is not in (0, 1), or there are more events than units.

    >>> round(log_e_share_below(0, 2300, 0.002), 3)
    3.068
    """
    if not 0.0 < bound < 1.0 or not 0 <= events <= units:
        raise InvalidStatisticError(
            f"{events} of {units} units against the share {bound}: counts must fit each other and "
            "the bound must lie between 0 and 1."
        )
    a, b = 1.0 + events, 1.0 + units - events
    marginal = log_beta(a, b) + log_lower_tail(bound, a, b) - math.log(bound)
    at_bound = _times_log(events, bound) + (units - events) * math.log1p(-bound)
    return marginal - at_bound


def log_e_ratio_differs(
    stages: Sequence[EventSplit],
    ratio: float = 1.0,
    *,
    concentration: float = DEFAULT_CONCENTRATION,
) -> float:
    """Return the log e-value against "the rate ratio is exactly `ratio`" (two-sided)."""
    return _log_marginal(stages, concentration) - _log_likelihood(stages, ratio)


def rate_ratio(stages: Sequence[EventSplit]) -> float:
    """Return the maximum-likelihood ratio of the candidate's rate to the control's.

    Raises:
        CannotComputeError: There is no event in the control arm, so the ratio has no estimate.
    """
    if not any(stage.control for stage in stages):
        raise CannotComputeError("The control arm has no events yet: the ratio has no estimate.")
    if not any(stage.candidate for stage in stages):
        return 0.0
    if len({stage.share for stage in stages}) == 1:
        odds = sum(stage.candidate for stage in stages) / sum(stage.control for stage in stages)
        return odds * (1.0 - stages[0].share) / stages[0].share
    return math.exp(
        find_root(
            lambda log_ratio: sum(
                stage.candidate - stage.total * stage.theta(math.exp(log_ratio)) for stage in stages
            ),
            -_WIDEST_LOG_RATIO,
            _WIDEST_LOG_RATIO,
        )
    )


def rate_ratio_interval(
    stages: Sequence[EventSplit],
    alpha: float,
    *,
    concentration: float = DEFAULT_CONCENTRATION,
) -> tuple[float, float]:
    """Return the ratios that the two-sided e-process has not rejected at level alpha.

    Valid at every moment at once. A side that the events do not limit (within e^60) is 0 or
    infinity.
    """
    limit = -math.log(require_alpha(alpha))
    marginal = _log_marginal(stages, concentration)

    def excess(log_ratio: float) -> float:
        return marginal - _log_likelihood(stages, math.exp(log_ratio)) - limit

    candidate = sum(stage.candidate for stage in stages)
    control = sum(stage.control for stage in stages)
    if candidate and control:
        centre = math.log(rate_ratio(stages))
    else:
        centre = _WIDEST_LOG_RATIO if candidate else -_WIDEST_LOG_RATIO
    lower, upper = 0.0, math.inf
    if candidate and excess(-_WIDEST_LOG_RATIO) > 0.0:
        lower = math.exp(find_root(excess, -_WIDEST_LOG_RATIO, centre))
    if control and excess(_WIDEST_LOG_RATIO) > 0.0:
        upper = math.exp(find_root(excess, _WIDEST_LOG_RATIO, centre))
    return lower, upper


def _with_priors(
    stages: Sequence[EventSplit],
    ratio: float,
    concentration: float,
    prior: RatioPrior | None = None,
) -> Iterator[tuple[EventSplit, float, float]]:
    """Yield each stage with its prior Beta(a, b), fixed before the stage begins.

    The first prior is centred on `ratio` with `concentration` events, or is `prior`. After a stage
    the posterior of the log ratio, described by its mean odds and by the variance 1/a + 1/b of the
    log odds, is moved to the next stage's share. Without `prior` no stage's weight is below
    `concentration`.
    """
    if ratio <= 0 or concentration <= 0:
        raise InvalidStatisticError("A rate ratio and a concentration must be positive.")
    information, least = 0.0, concentration
    if prior is not None:
        ratio, information, least = prior.centre, prior.log_sd**-2, 0.0
    for stage in stages:
        theta = stage.theta(ratio)
        rest = (1.0 - stage.share) / (1.0 - stage.share + stage.share * ratio)
        weight = max(least, information / (theta * rest))
        a, b = weight * theta, weight * rest
        yield stage, a, b
        a, b = a + stage.candidate, b + stage.control
        ratio = (a / b) * (1.0 - stage.share) / stage.share
        information = a * b / (a + b)


def _log_marginal(stages: Sequence[EventSplit], concentration: float) -> float:
    return sum(
        log_beta(a + stage.candidate, b + stage.control) - log_beta(a, b)
        for stage, a, b in _with_priors(stages, 1.0, concentration)
    )


def _log_likelihood(stages: Sequence[EventSplit], ratio: float) -> float:
    return sum(stage.log_likelihood(ratio) for stage in stages)


def _times_log(count: int, probability: float) -> float:
    return count * math.log(probability) if count else 0.0
