"""Errors of the statistics: a value that is refused, and a quantity that cannot be computed."""

from __future__ import annotations

from conch.core import ConchError, InvalidValueError


class InvalidStatisticError(InvalidValueError):
    """An argument is outside what the formula allows; the caller has to change it."""

    code = "ab-invalid-statistic"


class CannotComputeError(ConchError):
    """The data do not determine the quantity (yet): too few units, no variance, no events.

    The decision turns it into "inconclusive, because ..."; it never becomes a number.
    """

    code = "ab-cannot-compute"
    retryable = True


class PlanError(InvalidValueError):
    """A release plan, a metric or an experiment contradicts itself."""

    code = "ab-invalid-plan"


class EvidenceError(InvalidValueError):
    """Evidence is malformed: negative counts, stages out of order, mixed kinds of statistics."""

    code = "ab-invalid-evidence"


def require_alpha(alpha: float) -> float:
    """Return an error level, refusing what is not strictly between 0 and 1.

    Raises:
        InvalidStatisticError: `alpha` is outside (0, 1).
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidStatisticError(f"The error level is {alpha}; it must lie between 0 and 1.")
    return alpha
