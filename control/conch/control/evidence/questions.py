"""What the release engine asks about a release, and the port that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from conch.ab import Evidence, ReleasePlan
from conch.core import TOTAL_WEIGHT, ConchError, InvalidValueError, Ordinal, SlotName, TritonName

from .shadows import ShadowSummary


class EvidenceUnavailableError(ConchError):
    """What was observed of a release cannot be told now."""

    code = "evidence-unavailable"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArm:
    """One side of a comparison: a build in a slot. The same build may be in two slots.

    Attributes:
        build_id: The build.
        ordinal: Its version directory.
        slot: The slot that serves it.
    """

    build_id: str
    ordinal: Ordinal
    slot: SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class RampStage:
    """A period in which the split did not change.

    Attributes:
        number: `TrafficSplit.stage`; grows with every change of weights.
        step: Index of the plan's step that it belongs to.
        weight: The candidate's share of all traffic, in basis points, 1 to 9,999.
        started_s: When the split took effect, in seconds since the Unix epoch.
        ended_s: When the next one did; None while it is in force.
        control_weight: The share of the arm that the candidate is compared with, in basis points;
            None: everything else. Another number where a baseline arm of equal share is served.
    """

    number: int
    step: int
    weight: int
    started_s: float
    ended_s: float | None = None
    control_weight: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < TOTAL_WEIGHT:
            raise InvalidValueError(f"Stage {self.number} has the weight {self.weight}.")

    @property
    def share(self) -> float:
        """The candidate's share of the units that are compared, in (0, 1)."""
        other = self.control_weight or TOTAL_WEIGHT - self.weight
        return self.weight / (self.weight + other)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuestion:
    """Which release is asked about.

    Attributes:
        model: The model on the wire.
        release: `TrafficSplit.release`: the release or experiment that assigned the arms.
        plan: How it is decided: its metrics say what is counted.
        stages: The stages so far, in order of time; none while only copies of requests go to the
            candidate.
        candidate: The new version.
        control: What it is compared with.
        part: Which comparison of an experiment with several; empty where there is one.
    """

    model: TritonName
    release: str
    plan: ReleasePlan
    stages: tuple[RampStage, ...]
    candidate: ServedArm
    control: ServedArm
    part: str = ""

    def __post_init__(self) -> None:
        numbers = [stage.number for stage in self.stages]
        if numbers != sorted(set(numbers)):
            raise InvalidValueError(
                f"The stages {numbers} of release {self.release!r} are not in order."
            )


class EvidenceSource(Protocol):
    """Where evidence comes from.

    `follow` is called before the release's first split is in force, and again whenever the process
    started anew; what a plan measures is known from then on. All calls are quick: they read what
    was counted already.
    """

    def follow(self, question: EvidenceQuestion) -> None:
        """Count this release from now on. Idempotent.

        A release that was not followed from its beginning is counted from the event log, as far
        back as that goes.

        Raises:
            MetricSourceError: The plan measures something that nobody here can count.
        """
        ...

    def gather(self, question: EvidenceQuestion) -> Evidence:
        """Return what was observed, up to `cut_s`.

        Per stage and arm: units, and each metric of the plan per unit (never per request where
        units are sticky). A stage without a unit is there with counts of 0. `cut_s` is up to when
        everything was counted; it stays behind while data do not arrive.

        Raises:
            EvidenceUnavailableError: It cannot be told now; try again.
            MetricSourceError: As `follow`.
        """
        ...

    def shadow(self, question: EvidenceQuestion) -> ShadowSummary | None:
        """Return how both versions answered mirrored requests; None where none can be compared.

        A summary without pairs comes back as soon as capture runs.

        Raises:
            EvidenceUnavailableError: It cannot be told now; try again.
        """
        ...

    def forget(self, release: str) -> None:
        """Stop counting a release that has ended and drop its per-unit state. Idempotent."""
        ...
