"""Sample ratio: did units reach the arms in the planned proportions?

A mismatch (Fabijan et al. 2019) means that assignment or logging is broken, and then no metric can
be trusted. The Dirichlet-multinomial e-process may be looked at after every unit; the chi-squared,
G and binomial tests are for one look and are shown beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from scipy import special

from .beta_tails import find_root
from .errors import CannotComputeError, InvalidStatisticError, require_alpha
from .event_rates import log_e_equal

SRM_CONCENTRATION: Final = 1_000.0
"""Prior weight in units: patient, since a real mismatch shows in thousands of units."""

SRM_ALPHA: Final = 0.001
"""Level at which a mismatch is believed."""


def log_e_sample_ratio(
    stages: Iterable[tuple[Sequence[int], Sequence[float]]],
    *,
    concentration: float = SRM_CONCENTRATION,
) -> float:
    """Return the log e-value against the planned split, over stages of different splits.

    Args:
        stages: Units per arm and planned share per arm, one pair per stage.
        concentration: Prior weight in units.

    Raises:
        InvalidStatisticError: Shares do not fit the counts.
        CannotComputeError: Units reached an arm that should have none: the split is broken
            beyond any test.

    >>> round(log_e_sample_ratio([([9_400, 600], [0.95, 0.05])]), 2)
    7.79
    """
    return sum(
        log_e_equal(*_without_empty(counts, shares), concentration=concentration)
        for counts, shares in stages
    )


def share_intervals(
    counts: Sequence[int],
    null_shares: Sequence[float],
    *,
    alpha: float,
    concentration: float = SRM_CONCENTRATION,
) -> tuple[tuple[float, float], ...]:
    """Return, for each arm, the shares that the e-process has not rejected at level alpha.

    Inverts the mixture centred on `null_shares`; the other arms are profiled out.
    """
    total = sum(counts)
    if not total:
        raise CannotComputeError("No units have been assigned yet.")
    observed = [count / total for count in counts]
    at_observed = log_e_equal(counts, null_shares, concentration=concentration) + sum(
        float(special.xlogy(count, share) - special.xlogy(count, found))
        for count, share, found in zip(counts, null_shares, observed, strict=True)
    )
    limit = -math.log(require_alpha(alpha)) - at_observed

    def interval(count: int) -> tuple[float, float]:
        found, rest = count / total, total - count

        def excess(share: float) -> float:
            at_found = float(special.xlogy(count, found) + special.xlog1py(rest, -found))
            at_share = float(special.xlogy(count, share) + special.xlog1py(rest, -share))
            return at_found - at_share - limit

        lower = find_root(excess, 0.0, found) if count else 0.0
        upper = find_root(excess, 1.0, found) if rest else 1.0
        return lower, upper

    return tuple(interval(count) for count in counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatioTests:
    """Tests of the split for one look.

    Attributes:
        chi2: Pearson's statistic.
        dof: Its degrees of freedom.
        p_pearson: Its p-value.
        p_g: p-value of the likelihood ratio (G) test.
        p_binomial: Exact two-sided p-value for two arms; None for more.
    """

    chi2: float
    dof: int
    p_pearson: float
    p_g: float
    p_binomial: float | None


def sample_ratio_tests(
    counts: Sequence[int], shares: Sequence[float], *, dof: int | None = None
) -> SampleRatioTests:
    """Test the split once; arms without a share are left out.

    Args:
        counts: Units per arm.
        shares: Planned shares per arm; scaled to add up to 1.
        dof: Degrees of freedom to use instead of the number of arms with a share less one.
            GrowthBook, for one, also counts the arms without a share.

    Raises:
        CannotComputeError: No units, or units in an arm without a share.
    """
    total_share = sum(shares)
    if total_share <= 0:
        raise InvalidStatisticError("The planned shares add up to nothing.")
    kept, planned = _without_empty(counts, [share / total_share for share in shares])
    total = sum(kept)
    if not total:
        raise CannotComputeError("No units have been assigned yet.")
    expected = [share * total for share in planned]
    chi2 = sum((c - e) ** 2 / e for c, e in zip(kept, expected, strict=True))
    g = 2.0 * sum(float(special.xlogy(c, c / e)) for c, e in zip(kept, expected, strict=True))
    freedom = len(kept) - 1 if dof is None else dof
    return SampleRatioTests(
        chi2=chi2,
        dof=freedom,
        p_pearson=float(special.chdtrc(freedom, chi2)),
        p_g=float(special.chdtrc(freedom, max(0.0, g))),
        p_binomial=binomial_two_sided(kept[0], total, planned[0]) if len(kept) == 2 else None,
    )


def binomial_two_sided(successes: int, trials: int, probability: float) -> float:
    """Return the exact two-sided p-value: the total probability of outcomes no more likely.

    The far limit is found by bisection on the other side of the mode, so that the cost grows with
    the logarithm of the number of trials.
    """
    if not 0 <= successes <= trials:
        raise InvalidStatisticError(f"{successes} successes in {trials} trials.")
    if probability in (0.0, 1.0):
        return float(successes == round(trials * probability))
    limit = _log_pmf(successes, trials, probability) + 1e-7  # ties count as equally likely
    mode = min(trials, math.floor((trials + 1) * probability))
    if successes == mode:
        return 1.0
    if successes < mode:
        low, high = mode, trials + 1  # smallest k above the mode that is no more likely
        while low < high:
            middle = (low + high) // 2
            if middle > trials or _log_pmf(middle, trials, probability) <= limit:
                high = middle
            else:
                low = middle + 1
        far = float(special.bdtrc(low - 1, trials, probability)) if low <= trials else 0.0
        return min(1.0, float(special.bdtr(successes, trials, probability)) + far)
    low, high = -1, mode  # largest k below the mode that is no more likely
    while low < high:
        middle = (low + high + 1) // 2
        if middle < 0 or _log_pmf(middle, trials, probability) <= limit:
            low = middle
        else:
            high = middle - 1
    far = float(special.bdtr(low, trials, probability)) if low >= 0 else 0.0
    return min(1.0, float(special.bdtrc(successes - 1, trials, probability)) + far)


def _log_pmf(k: int, n: int, p: float) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + float(special.xlogy(k, p)) + float(special.xlog1py(n - k, -p))


def _without_empty(counts: Sequence[int], shares: Sequence[float]) -> tuple[list[int], list[float]]:
    if len(counts) != len(shares):
        raise InvalidStatisticError(f"{len(counts)} counts and {len(shares)} shares.")
    for count, share in zip(counts, shares, strict=True):
        if share <= 0 < count:
            raise CannotComputeError(
                f"{count} units reached an arm whose planned share is {share}.",
                hint="The split that was served is not the one that was planned.",
            )
    kept = [(c, s) for c, s in zip(counts, shares, strict=True) if s > 0]
    return [c for c, _ in kept], [s for _, s in kept]
