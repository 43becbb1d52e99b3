"""The pass over running experiments: gather, judge, write, and give the traffic back at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from conch.ab import Evidence, ReleasePlan, as_json
from conch.core import ConchError, TritonName

from ..deploying.comparing import end_experiment, find
from ..deploying.finding import served_arm
from ..deploying.moving import hold_of
from ..deploying.reconciling import Reconciler
from ..deploying.world import called
from ..evidence import EvidenceQuestion, EvidenceSource, RampStage, ServedArm
from ..plans import Plan, plan_of
from ..state import (
    Database,
    Experiment,
    ExperimentStatus,
    Json,
    Serving,
    Transaction,
)
from .judging import Comparison, ExperimentWorld, Move, Ruling, judge
from .planning import rule_for

log = logging.getLogger(__name__)


class ExperimentEngine:
    """Concludes experiments by their plans.

    Args:
        database: Where experiments and findings are.
        reconciler: Puts into force what follows.
        evidence: Answers what was observed; None: nobody does, and nothing is concluded.
        now: The clock.
        guard: Raises within a transaction where this process may not act.
    """

    def __init__(
        self,
        *,
        database: Database,
        reconciler: Reconciler,
        evidence: EvidenceSource | None,
        now: Callable[[], datetime],
        guard: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        self._database = database
        self._reconciler = reconciler
        self._evidence = evidence
        self._now = now
        self._guard = guard
        self._looked: set[str] = set()

    def run(self) -> None:
        """Look at every experiment whose traffic is divided, and do what follows.

        Raises:
            ConchError: The database or the target failed; the next run goes on from there.
        """
        with self._database.look() as tx:
            found: list[Experiment] = tx.experiments.find(status=ExperimentStatus.RUNNING)
        running = {one.id for one in found}
        for key in self._looked - running:
            if self._evidence is not None:
                self._evidence.forget(key)
        self._looked = running
        for experiment in found:
            self._one(experiment)

    def _one(self, experiment: Experiment) -> None:
        plan = plan_of(experiment.plan)
        with self._database.look() as tx:
            asked = [_asked(tx, experiment, plan, one) for one in experiment.treatments]
        comparisons = tuple(self._compared(one) for one in asked)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._guard(tx)
                current = tx.experiments.get(experiment.id)
                if current.revision != experiment.revision:
                    return  # somebody moved it meanwhile: the next look is not long after
                last = tx.findings.find(experiment_id=current.id, newest_first=True, limit=1)
                world = ExperimentWorld(
                    now=self._now(),
                    experiment=current,
                    comparisons=comparisons,
                    record_every_s=plan.record_every_s,
                    last=last[0] if last else None,
                )
                ruling = judge(world)
                _apply(tx, world, ruling)
                model_id = tx.deployments.get(current.deployment_id).model_id
            if ruling.move is Move.END:
                log.info("experiment %s: %s: %s", experiment.id, ruling.code, ruling.message)
                self._reconciler.run(model_id)

    def _compared(self, asked: _Asked) -> Comparison:
        seen: Evidence | None = None
        missing = "nothing here counts requests."
        if asked.question is None:
            missing = "one of the arms is in no slot."
        elif self._evidence is not None:
            try:
                seen, missing = self._evidence.gather(asked.question), ""
            except ConchError as error:
                missing = error.message
        return Comparison(
            build_id=asked.build_id,
            called=asked.called,
            rule=asked.rule,
            evidence=seen,
            missing=missing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One comparison before anything was observed; no question where an arm is in no slot."""

    build_id: str
    called: str
    rule: ReleasePlan
    question: EvidenceQuestion | None


def _asked(tx: Transaction, experiment: Experiment, plan: Plan, build_id: str) -> _Asked:
    control_id = experiment.control_build_id
    own, other = int(experiment.shares[build_id]), int(experiment.shares[control_id])
    rule = rule_for(plan, share=own / (own + other), treatments=len(experiment.treatments))
    build = tx.builds.get(build_id)
    version = tx.versions.get(build.version_id)
    alone = len(tx.builds.find(version_id=version.id)) == 1
    candidate, control = _arm(tx, experiment, build_id), _arm(tx, experiment, control_id)
    question = None
    if candidate is not None and control is not None:
        question = _question(tx, experiment, rule, candidate, control)
    return _Asked(
        build_id=build_id,
        called=called(version, build, alone=alone),
        rule=rule,
        question=question,
    )


def _question(
    tx: Transaction,
    experiment: Experiment,
    rule: ReleasePlan,
    candidate: ServedArm,
    control: ServedArm,
) -> EvidenceQuestion:
    assert experiment.started_at is not None, "only running experiments are looked at"
    model = tx.models.get(tx.deployments.get(experiment.deployment_id).model_id)
    weight = rule.steps[0].weight
    stage = RampStage(number=0, step=0, weight=weight, started_s=experiment.started_at.timestamp())
    return EvidenceQuestion(
        model=TritonName(model.triton_name),
        release=experiment.id,
        plan=rule,
        stages=(stage,),
        candidate=candidate,
        control=control,
        part=str(candidate.ordinal),
    )


def _arm(tx: Transaction, experiment: Experiment, build_id: str) -> ServedArm | None:
    serving: Serving | None = tx.servings.first(
        deployment_id=experiment.deployment_id, build_id=build_id
    )
    return served_arm(tx, serving)


def _apply(tx: Transaction, world: ExperimentWorld, ruling: Ruling) -> None:
    """Write what follows from a ruling."""
    experiment, now = world.experiment, world.now
    records: Json = {key: as_json(record) for key, record in ruling.records.items()}
    if ruling.move is Move.END:
        end_experiment(
            tx,
            experiment,
            code=ruling.code,
            message=ruling.message,
            now=now,
            records=records or None,
        )
        return
    held = None if experiment.hold is None else experiment.hold["code"]
    wanted = ruling.code if ruling.move is Move.HOLD else None
    if held != wanted:
        hold = None if wanted is None else hold_of(ruling.code, ruling.message, now)
        experiment = tx.experiments.change(experiment, hold=hold)
    if ruling.due:
        find(
            tx,
            experiment,
            action=ruling.move.value,
            code=ruling.code,
            message=ruling.message,
            now=now,
            records=records or None,
        )
