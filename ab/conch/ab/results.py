"""What the evidence says about one metric, as a value with its reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from .metrics import Kind


class Verdict(StrEnum):
    """What is established about a metric."""

    HARMED = "harmed"
    BETTER = "better"
    NOT_WORSE = "not-worse"
    INCONCLUSIVE = "inconclusive"


class Claim(StrEnum):
    """What an e-value speaks for; its null hypothesis is the opposite."""

    WORSE = "worse"
    NOT_WORSE = "not-worse"
    BETTER = "better"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedClaim:
    """One claim, its e-value and what it is held against.

    Attributes:
        claim: What large values establish.
        bound: Candidate-to-control ratio at which the null hypothesis ends.
        log_e: Natural logarithm of the e-value.
        log_threshold: What `log_e` has to exceed.
    """

    __test__ = False  # not a pytest class

    claim: Claim
    bound: float
    log_e: float
    log_threshold: float

    @property
    def established(self) -> bool:
        """Whether the claim is established at the plan's error level."""
        return self.log_e > self.log_threshold

    def describe(self) -> str:
        """Return the claim with its numbers in words."""
        return (
            f"evidence for {self.claim.value!r} (ratio against {self.bound:g}) is "
            f"e = {_power(self.log_e)} of {_power(self.log_threshold)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One metric's result.

    Attributes:
        metric: The metric's name.
        kind: What the metric is for.
        verdict: What is established.
        because: Why, in one sentence.
        estimate: Relative change, candidate against control; None where it has no estimate.
        lower: Lower limit of the relative change, valid at every look; None where not computed.
        upper: Upper limit; infinity where nothing limits it, None where not computed.
        claims: The tested claims; empty where the statistic could not be computed.
        control_units: Units in the control, all stages.
        candidate_units: Units in the candidate, all stages.
        control_events: Events in the control; None where the metric does not count events.
        candidate_events: Events in the candidate.
        method: The statistic, with its version.
        pending_share: Share of the units whose outcome may still come and is not counted yet;
            None where the metric has no window.
    """

    metric: str
    kind: Kind
    verdict: Verdict
    because: str
    estimate: float | None
    lower: float | None
    upper: float | None
    claims: tuple[TestedClaim, ...]
    control_units: int
    candidate_units: int
    control_events: int | None
    candidate_events: int | None
    method: str
    pending_share: float | None = None

    def claim(self, claim: Claim) -> TestedClaim | None:
        """Return one tested claim, or None where it could not be computed."""
        return next((item for item in self.claims if item.claim is claim), None)

    def shows(self, claim: Claim) -> bool:
        """Tell whether a claim is established."""
        found = self.claim(claim)
        return found is not None and found.established


def _power(log_value: float) -> str:
    """Return exp(log_value) with three digits, also where it overflows a float."""
    if abs(log_value) < 600.0:
        return f"{math.exp(log_value):.3g}"
    exponent = math.floor(log_value / math.log(10.0))
    return f"{math.exp(log_value - exponent * math.log(10.0)):.3g}e{exponent:+d}"
