"""Evidence from a table: a stand-in for what counts requests, where a test is about the engine.

It keeps the port's promises: a stage for each stage asked about, in order, with the shares that
were in force, and a cut that is the present unless told otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from conch.ab import Counts, Evidence, MetricEvidence, StageEvidence
from conch.control.evidence import EvidenceQuestion, EvidenceUnavailableError, ShadowSummary


@dataclass(slots=True)
class TabledEvidence:
    """The `EvidenceSource` protocol, by numbers.

    Attributes:
        units: Units of both arms in every stage.
        control: Share of the control's units with an event, by metric.
        candidate: Likewise of the candidate's.
        arms: Likewise of those whose version directory has a row here, in the place of it.
        skew: The candidate's real share over its planned one.
        age_s: How old the data are.
        away: Why nothing can be told; empty: it can.
        copies: How copies of requests were answered; None: nobody can tell.
        followed: The releases asked to be followed.
        forgotten: The releases that were let go.
    """

    units: int = 100_000
    control: Mapping[str, float] = field(default_factory=lambda: {"error-rate": 0.01})
    candidate: Mapping[str, float] = field(default_factory=lambda: {"error-rate": 0.01})
    arms: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    skew: float = 1.0
    age_s: float = 0.0
    away: str = ""
    now: float | None = None
    copies: ShadowSummary | None = None
    followed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def follow(self, question: EvidenceQuestion) -> None:
        self.followed.append(question.release)

    def gather(self, question: EvidenceQuestion) -> Evidence:
        if self.away:
            raise EvidenceUnavailableError(self.away)
        now = time.time() if self.now is None else self.now
        return Evidence(
            stages=tuple(self._stage(question, number) for number in range(len(question.stages))),
            cut_s=now - self.age_s,
        )

    def shadow(self, question: EvidenceQuestion) -> ShadowSummary | None:
        return self.copies

    def forget(self, release: str) -> None:
        self.forgotten.append(release)

    def _stage(self, question: EvidenceQuestion, number: int) -> StageEvidence:
        stage = question.stages[number]
        candidate = min(self.units, round(self.units * stage.share * self.skew))
        control = self.units - candidate
        rates = self.arms.get(question.candidate.ordinal, self.candidate)
        return StageEvidence(
            step=stage.step,
            share=stage.share,
            started_s=stage.started_s,
            control_units=control,
            candidate_units=candidate,
            metrics=tuple(
                MetricEvidence(
                    metric=metric.name,
                    control=_counts(control, self.control.get(metric.name, 0.0)),
                    candidate=_counts(candidate, rates.get(metric.name, 0.0)),
                )
                for metric in question.plan.metrics
            ),
        )


def _counts(units: int, rate: float) -> Counts:
    return Counts(units=units, events=round(units * rate))
