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

    QUANTILE = "quantile"
    """A quantile fixed in advance (`Histogram`, logarithmic grid); no approximation."""

    SCORE = "score"
    """Mean of scores between 0 and 1 (`Histogram`, unit grid); betting, no approximation."""


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
        tolerated: For event rates where lower is better: the share of the candidate's units with
            an event that is fine whatever the control does, 0 for none. Without it two versions
            that never fail could not be shown to be alike: a ratio needs events.
        concentration: Prior weight of event e-processes, in events.
        tuning_n: Units at which asymptotic sequences are tightest.
        minimum_units: Units per arm and stage before an asymptotic statistic is believed.
        level: The quantile, such as 0.95; for quantiles only.
        window_s: How long after its assignment a unit's outcome may still come. Only units whose
            window has closed at the data cut are counted, in both arms alike.
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
    tolerated: float = 0.0
    concentration: float = DEFAULT_CONCENTRATION
    tuning_n: float = DEFAULT_TUNING
    minimum_units: int = 100
    level: float | None = None
    window_s: float = 0.0

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
        if not 0.0 <= self.tolerated < 1.0:
            raise PlanError(f"Metric {self.name!r}: the tolerated share must lie in [0, 1).")
        if self.tolerated and (
            self.measure is not Measure.EVENT_RATE or self.direction is not Direction.LOWER
        ):
            raise PlanError(
                f"Metric {self.name!r}: only an event rate that should be low has a "
                "tolerated share."
            )
        if self.concentration <= 0 or self.tuning_n <= 0 or self.minimum_units < 2:
            raise PlanError(
                f"Metric {self.name!r}: concentration and tuning must be positive and at least "
                "2 units are needed per arm."
            )

        if (self.measure is Measure.QUANTILE) != (self.level is not None) or not (
            self.level is None or 0.0 < self.level < 1.0
        ):
            raise PlanError(
                f"Metric {self.name!r} is a {self.measure.value} with the level {self.level}.",
                hint="A quantile needs a level between 0 and 1; nothing else has one.",
            )
        if not self.window_s >= 0.0:
            raise PlanError(f"Metric {self.name!r} has a negative window.")

    def worsened(self, by: float) -> float:
        """Return the candidate-to-control ratio that a worsening of this size means."""
        return 1.0 + by if self.direction is Direction.LOWER else 1.0 - by

    def improved(self, by: float) -> float:
        """Return the candidate-to-control ratio that an improvement of this size means."""
        return 1.0 - by if self.direction is Direction.LOWER else 1.0 + by
