"""What has been observed of a release, as one value: arms, stages, and when it was cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import EvidenceError
from .moments import Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvidence:
    """One metric in both arms of one stage.

    Attributes:
        metric: The metric's name.
        control: What the present version did.
        candidate: What the new version did; the same class as `control`.
        control_pending: Units of the control whose window had not closed at the data cut; they
            are not among those of `control`.
        candidate_pending: Units of the candidate, likewise.
    """

    metric: str
    control: Statistic
    candidate: Statistic
    control_pending: int = 0
    candidate_pending: int = 0

    def __post_init__(self) -> None:
        if self.control_pending < 0 or self.candidate_pending < 0:
            raise EvidenceError(f"Metric {self.metric!r} has a negative number of pending units.")
        if type(self.control) is not type(self.candidate):
            raise EvidenceError(
                f"Metric {self.metric!r} has {type(self.control).__name__} in one arm and "
                f"{type(self.candidate).__name__} in the other."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEvidence:
    """A period in which the split did not change.

    Attributes:
        step: Index of the plan's step.
        share: Candidate's planned share of units, in (0, 1).
        started_s: When the split took effect, in seconds since the Unix epoch.
        control_units: Units assigned to the control in this stage.
        candidate_units: Units assigned to the candidate.
        metrics: Evidence per metric.
    """

    step: int
    share: float
    started_s: float
    control_units: int
    candidate_units: int
    metrics: tuple[MetricEvidence, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise EvidenceError(
                f"Stage {self.step} has the share {self.share}.",
                hint="A comparison needs both arms: a share strictly between 0 and 1.",
            )
        if self.control_units < 0 or self.candidate_units < 0 or self.step < 0:
            raise EvidenceError(f"Stage {self.step} has a negative count or index.")
        names = [item.metric for item in self.metrics]
        if len(set(names)) != len(names):
            raise EvidenceError(f"Stage {self.step} has a metric twice: {names}.")

    def of(self, metric: str) -> MetricEvidence | None:
        """Return the evidence of one metric, or None."""
        return next((item for item in self.metrics if item.metric == metric), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a decision looks at.

    Attributes:
        stages: Periods of constant split in order of time; never merged across a change of split.
        cut_s: Up to when data are complete, in seconds since the Unix epoch. For outcomes that
            arrive late the cut is the same in both arms, and only units whose window has closed
            are counted.
        exposed_to_both: Units that met both arms within one stage.
        counted: From what it was counted, and what a unit is, in words; nothing is decided by it.
    """

    stages: tuple[StageEvidence, ...]
    cut_s: float
    exposed_to_both: int = 0
    counted: str = ""

    def __post_init__(self) -> None:
        if not self.stages:
            raise EvidenceError("Evidence needs at least one stage.")
        times = [stage.started_s for stage in self.stages]
        if times != sorted(times):
            raise EvidenceError("Stages are not in order of time.")
        if self.exposed_to_both < 0:
            raise EvidenceError("A number of units cannot be negative.")

    @property
    def latest(self) -> StageEvidence:
        """The stage in progress."""
        return self.stages[-1]

    @property
    def units(self) -> int:
        """Units in all stages and both arms."""
        return sum(stage.control_units + stage.candidate_units for stage in self.stages)


def pairs_of(
    stages: Sequence[StageEvidence], metric: str
) -> tuple[tuple[StageEvidence, MetricEvidence], ...]:
    """Return the stages that hold a metric, each with that metric's evidence."""
    found = ((stage, stage.of(metric)) for stage in stages)
    return tuple((stage, item) for stage, item in found if item is not None)
