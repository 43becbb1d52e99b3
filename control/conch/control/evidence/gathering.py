"""Evidence from the event log: the `EvidenceSource` of one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from conch.ab import Evidence, MetricEvidence, StageEvidence

from .counting import Column
from .following import Follower
from .questions import EvidenceQuestion, EvidenceUnavailableError, RampStage
from .shadows import ShadowSummary
from .sources import check_plan
from .unit_tables import CANDIDATE, CONTROL, ArmCount, Definition, StageCount, UnitTable

BY_THE_GATEWAY: Final = (
    "the gateway's access log; a unit is what x-conch-unit names, else the request itself"
)


class LogEvidence:
    """The `EvidenceSource` protocol, from what a `Follower` counts.

    Args:
        follower: Gives the one that counts, which somebody else lets run. It may raise
            `EvidenceUnavailableError`, while there is none.
        counted: What it counts, and what a unit is, in words.
    """

    def __init__(self, follower: Callable[[], Follower], *, counted: str = BY_THE_GATEWAY) -> None:
        self._followed = follower
        self._counted = counted

    @property
    def _follower(self) -> Follower:
        return self._followed()

    def follow(self, question: EvidenceQuestion) -> None:
        self._table(question)

    def gather(self, question: EvidenceQuestion) -> Evidence:
        table = self._table(question)
        with self._follower.lock:
            self._check(question, table)
            columns = table.definition.columns
            stages = tuple(
                _stage(stage, table.stages.get(stage.number), columns) for stage in question.stages
            )
            both = sum(
                table.stages[stage.number].both
                for stage in question.stages
                if stage.number in table.stages
            )
            return Evidence(
                stages=stages, cut_s=table.cut_s, exposed_to_both=both, counted=self._counted
            )

    def shadow(self, question: EvidenceQuestion) -> ShadowSummary | None:
        return self._follower.shadow(question.release, question.model)

    def forget(self, release: str) -> None:
        self._follower.forget(release)

    def _table(self, question: EvidenceQuestion) -> UnitTable:
        if not question.stages:
            raise EvidenceUnavailableError(
                f"Release {question.release!r} has divided no request yet."
            )
        return self._follower.follow(definition_of(question), since_s=question.stages[0].started_s)

    def _check(self, question: EvidenceQuestion, table: UnitTable) -> None:
        if why := self._follower.lost(table.definition.key):
            raise EvidenceUnavailableError(
                f"Release {question.release!r} was not counted whole: {why}",
                hint="Start the release again, or decide it by hand.",
            )
        if not table.cut_s:
            raise EvidenceUnavailableError(
                f"Release {question.release!r} has not been counted yet.",
                hint="Requests are read several times a second; see `conch events stats`.",
            )


def definition_of(question: EvidenceQuestion) -> Definition:
    """Return what has to be counted in order to answer a question.

    Raises:
        MetricSourceError: The plan measures something that cannot be counted.
    """
    sources = check_plan(question.plan)
    columns = tuple(
        Column(metric=metric.name, measure=metric.measure, source=sources[metric.name])
        for metric in question.plan.metrics
    )
    control, candidate = question.control, question.candidate
    return Definition(
        release=question.release,
        model=question.model,
        arms=((control.slot, control.ordinal), (candidate.slot, candidate.ordinal)),
        columns=columns,
        part=question.part,
    )


def _stage(
    stage: RampStage, counts: StageCount | None, columns: tuple[Column, ...]
) -> StageEvidence:
    metrics: tuple[MetricEvidence, ...] = ()
    if counts is not None:
        metrics = tuple(
            _metric(index, column, counts.arms[CONTROL], counts.arms[CANDIDATE])
            for index, column in enumerate(columns)
        )
    return StageEvidence(
        step=stage.step,
        share=stage.share,
        started_s=stage.started_s,
        control_units=0 if counts is None else counts.arms[CONTROL].units,
        candidate_units=0 if counts is None else counts.arms[CANDIDATE].units,
        metrics=metrics,
    )


def _metric(index: int, column: Column, control: ArmCount, candidate: ArmCount) -> MetricEvidence:
    return MetricEvidence(
        metric=column.metric,
        control=control.sums[index].statistic(column),
        candidate=candidate.sums[index].statistic(column),
        control_pending=control.units - control.sums[index].n,
        candidate_pending=candidate.units - candidate.sums[index].n,
    )
