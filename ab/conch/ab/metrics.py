"""What is measured and what it is for: kind, direction, margin, source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .errors import PlanError
from .event_rates import DEFAULT_CONCENTRATION
from .sequences import DEFAULT_TUNING


class Kind(StrEnum):
    """What a metric is for."""

    GUARDRAIL = "guardrail"
    """Must not get worse: proven harm rolls back, "not worse" is needed to promote."""

    GOAL = "goal"
    """What the release is meant to improve."""

    DIAGNOSTIC = "diagnostic"
    """For reading; decides nothing."""


class Direction(StrEnum):
    """Which way is good."""

    LOWER = "lower-is-better"
    HIGHER = "higher-is-better"


class Measure(StrEnum):
    """How a metric is summarised, and with that which statistic tests it."""

    EVENT_RATE = "event-rate"
    """Share of units with an event (`Counts`); exact e-process."""

    MEAN = "mean"
    """Mean per assignment unit (`Moments`); asymptotic."""

    RATIO = "ratio"
    """Sum over sum, delta method over the assignment unit (`PairMoments`); asymptotic."""

    ADJUSTED_MEAN = "adjusted-mean"
    """Mean with a covariate from before the assignment (`PairMoments`); asymptotic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a release.

    Margins are relative to the control: 0.25 tolerates 25% more errors, or 25% fewer purchases.
    A latency guardrail is an event rate: the share of requests slower than a fixed objective.

    Attributes:
        name: Identity within the plan, such as `error-rate`.
        kind: What it is for.
        measure: How it is summarised.
        direction: Which way is good.
        unit: Unit of measurement, for people, such as `errors/request` or `ms`.
        counted_per: What one observation is, such as `request` or `user`; for everything but a
            ratio it has to be the unit that traffic is assigned by.
        source: Where the numbers come from, such as `envoy` or `feedback`.
        margin: Worsening that is tolerated; "not worse" means shown to be within it.
        harm_beyond: Worsening that has to be exceeded before it counts as harm; at most `margin`.
        minimum_effect: Improvement that has to be exceeded for "better".
        concentration: Prior weight of event e-processes, in events.
        tuning_n: Units at which asymptotic sequences are tightest.
        minimum_units: Units per arm and stage before an asymptotic statistic is believed.
    """

    name: str
    kind: Kind
    measure: Measure
    direction: Direction
    unit: str
    counted_per: str
    source: str
    margin: float
    harm_beyond: float = 0.0
    minimum_effect: float = 0.0
    concentration: float = DEFAULT_CONCENTRATION
    tuning_n: float = DEFAULT_TUNING
    minimum_units: int = 100

    def __post_init__(self) -> None:
        if not self.name:
            raise PlanError("A metric needs a name.")
        if not self.margin > 0.0 or (self.direction is Direction.HIGHER and self.margin >= 1.0):
            raise PlanError(
                f"Metric {self.name!r} has the margin {self.margin}.",
                hint="Give a relative margin above 0, and below 1 where higher is better.",
            )
        if not 0.0 <= self.harm_beyond <= self.margin:
            raise PlanError(
                f"Metric {self.name!r} counts as harm beyond {self.harm_beyond}, "
                f"which must lie in 0..margin ({self.margin})."
            )
        if not 0.0 <= self.minimum_effect < 1.0:
            raise PlanError(f"Metric {self.name!r}: the minimum effect must lie in [0, 1).")
        if self.concentration <= 0 or self.tuning_n <= 0 or self.minimum_units < 2:
            raise PlanError(
                f"Metric {self.name!r}: concentration and tuning must be positive and at least "
                "2 units are needed per arm."
            )

    def worsened(self, by: float) -> float:
        """Return the candidate-to-control ratio that a worsening of this size means."""
        return 1.0 + by if self.direction is Direction.LOWER else 1.0 - by

    def improved(self, by: float) -> float:
        """Return the candidate-to-control ratio that an improvement of this size means."""
        return 1.0 - by if self.direction is Direction.LOWER else 1.0 + by
