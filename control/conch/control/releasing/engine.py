"""The engine's pass: for every release that goes by a plan, gather, judge, write, act.

Evidence is gathered outside of the reconciler's lock, since that may take time; the judgement is
taken inside of it, on rows that have not moved since, and is written with its record and with what
it changes in one transaction. What the data plane has to do about it is the reconciler's work: a
process killed in between goes on from the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from conch.ab import Evidence, as_json
from conch.core import ConchError, SlotName, TritonName

from ..deploying.finding import served_arm
from ..deploying.moving import (
    bake,
    begin_steps,
    hold_of,
    open_stage,
    plan_in,
    promote,
    record,
    roll_back,
)
from ..deploying.reconciling import Reconciler
from ..evidence import (
    EvidenceQuestion,
    EvidenceSource,
    RampStage,
    ServedArm,
    ShadowSummary,
)
from ..plans import Plan
from ..state import (
    Database,
    Json,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Stage,
    Transaction,
)
from .judging import Move, ReleaseWorld, Ruling, judge

log = logging.getLogger(__name__)

_LOOKED_AT: Final = (ReleaseStatus.SHADOWING, ReleaseStatus.RUNNING, ReleaseStatus.BAKING)


class ReleaseEngine:
    """Decides releases by their plans.

    Args:
        database: Where releases, stages and decisions are.
        reconciler: Puts into force what is decided.
        evidence: Answers what was observed; None: nobody does, and every plan is held.
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
        self._followed: dict[str, int] = {}

    def run(self) -> None:
        """Look at every release that has traffic, or copies of it, and do what follows.

        Raises:
            ConchError: The database or the target failed; the next run goes on from there.
        """
        with self._database.look() as tx:
            found: list[Release] = tx.releases.find(status=list(_LOOKED_AT))
        planned = [release for release in found if release.plan is not None]
        self._forget({release.id for release in planned})
        for release in planned:
            self._one(release)

    def _one(self, release: Release) -> None:
        with self._database.look() as tx:
            question, stages = self._question(tx, release)
        seen: Evidence | None = None
        shadow: ShadowSummary | None = None
        if release.status is ReleaseStatus.SHADOWING:
            missing, shadow = "no request was divided yet.", self._shadow(release, question)
        else:
            seen, missing = self._gather(question)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._guard(tx)
                current = tx.releases.get(release.id)
                if current.revision != release.revision:
                    return  # somebody moved it meanwhile: the next look is not long after
                world = self._world(tx, current, stages, seen, missing, shadow)
                ruling = judge(world)
                moved = _apply(tx, world, ruling)
            if moved:
                log.info("release %s: %s: %s", release.id, ruling.move.value, ruling.message)
                with self._database.look() as tx:
                    model_id = tx.deployments.get(release.deployment_id).model_id
                self._reconciler.run(model_id)

    def _question(
        self, tx: Transaction, release: Release
    ) -> tuple[EvidenceQuestion | None, tuple[Stage, ...]]:
        stages = tuple(sorted(tx.stages.find(release_id=release.id), key=lambda one: one.number))
        plan = plan_in(release)
        assert plan is not None, "only planned releases are looked at"
        if release.status is ReleaseStatus.BAKING and not plan.holdback:
            return None, stages  # everything goes to one version: there is nothing to compare
        candidate = _arm(tx, release, release.candidate_build_id)
        control = _arm(tx, release, release.baseline_build_id, slot=release.baseline_slot)
        if candidate is None or control is None:
            return None, stages
        deployment = tx.deployments.get(release.deployment_id)
        model = tx.models.get(deployment.model_id)
        return question_of(release, plan, stages, TritonName(model.triton_name), candidate, control)

    def _gather(self, question: EvidenceQuestion | None) -> tuple[Evidence | None, str]:
        if self._evidence is None:
            return None, "nothing counts requests (on a cluster: `payloads` in the profile)."
        if question is None:
            return None, "one of the versions is in no slot."
        try:
            self._follow(question)
            return self._evidence.gather(question), ""
        except ConchError as error:
            return None, error.message

    def _shadow(self, release: Release, question: EvidenceQuestion | None) -> ShadowSummary | None:
        if question is None or self._evidence is None:
            return None
        try:
            return self._evidence.shadow(question)
        except ConchError as error:
            log.warning("release %s: shadow traffic: %s", release.id, error)
            return None

    def _follow(self, question: EvidenceQuestion) -> None:
        assert self._evidence is not None
        if self._followed.get(question.release) != len(question.stages):
            self._evidence.follow(question)
            self._followed[question.release] = len(question.stages)

    def _forget(self, kept: set[str]) -> None:
        for release in set(self._followed) - kept:
            if self._evidence is not None:
                self._evidence.forget(release)
            del self._followed[release]

    def _world(
        self,
        tx: Transaction,
        release: Release,
        stages: tuple[Stage, ...],
        seen: Evidence | None,
        missing: str,
        shadow: ShadowSummary | None,
    ) -> ReleaseWorld:
        plan = plan_in(release)
        assert plan is not None, "only planned releases are looked at"
        last = tx.decisions.find(release_id=release.id, newest_first=True, limit=1)
        return ReleaseWorld(
            now=self._now(),
            release=release,
            plan=plan,
            stages=stages,
            evidence=seen,
            missing=missing,
            unserved=_unserved(tx, release),
            shadow=shadow,
            last=last[0] if last else None,
        )


def question_of(
    release: Release,
    plan: Plan,
    stages: tuple[Stage, ...],
    model: TritonName,
    candidate: ServedArm,
    control: ServedArm,
) -> tuple[EvidenceQuestion, tuple[Stage, ...]]:
    """Return what is asked about a release, and the stages that it was asked with."""
    baking = release.status is ReleaseStatus.BAKING
    return EvidenceQuestion(
        model=model,
        release=release.id,
        plan=plan.guard if baking else plan.rule,
        stages=tuple(
            RampStage(
                number=stage.number,
                step=stage.step,
                weight=stage.weight,
                started_s=stage.created_at.timestamp(),
                ended_s=None if stage.ended_at is None else stage.ended_at.timestamp(),
                control_weight=stage.control_weight,
            )
            for stage in stages
        ),
        candidate=candidate,
        control=control,
    ), stages


def _arm(
    tx: Transaction, release: Release, build_id: str, *, slot: SlotName | None = None
) -> ServedArm | None:
    return served_arm(tx, _serving(tx, release, build_id, slot))


def _serving(
    tx: Transaction, release: Release, build_id: str, slot: SlotName | None
) -> Serving | None:
    where = {} if slot is None else {"slot": slot}
    return tx.servings.first(deployment_id=release.deployment_id, build_id=build_id, **where)


def _unserved(tx: Transaction, release: Release) -> str:
    for build_id, what, slot in (
        (release.candidate_build_id, "candidate", None),
        (release.baseline_build_id, "baseline", release.baseline_slot),
    ):
        serving = _serving(tx, release, build_id, slot)
        if serving is None or serving.status is not ServingStatus.READY:
            how = "in no slot" if serving is None else serving.status.value
            return f"The {what} is {how}, not ready."
    return ""


def _apply(tx: Transaction, world: ReleaseWorld, ruling: Ruling) -> bool:
    """Write what follows from a ruling; tell whether the traffic has to move."""
    release, now = world.release, world.now
    deployment = tx.deployments.get(release.deployment_id)
    match ruling.move:
        case Move.ROLL_BACK:
            reason = {"code": ruling.code, "message": ruling.message}
            release = roll_back(tx, deployment, release, reason=reason, now=now)
        case Move.ADVANCE if release.status is ReleaseStatus.SHADOWING:
            release = begin_steps(tx, deployment, release, world.plan, now=now)
        case Move.ADVANCE:
            assert ruling.step is not None
            release = tx.releases.change(release, hold=None)
            release = open_stage(tx, release, step=ruling.step, weight=ruling.weight, now=now)
        case Move.BAKE:
            release = bake(tx, deployment, release, world.plan, now=now)
        case Move.FINISH:
            release = promote(tx, deployment, release, keep_s=0, now=now)
        case Move.HOLD if ruling.due and (release.hold or {}).get("code") != ruling.code:
            hold = hold_of(ruling.code, ruling.message, now)
            release = tx.releases.change(release, hold=hold)
        case Move.STAY if release.hold is not None:
            release = tx.releases.change(release, hold=None)
    if ruling.due:
        record(
            tx,
            release,
            action=ruling.move.value,
            code=ruling.code,
            message=ruling.message,
            now=now,
            taken_from=None if ruling.record is None else _json(ruling.record),
            shadow=None if world.shadow is None else _summary(world.shadow),
        )
    return ruling.move in (Move.ROLL_BACK, Move.ADVANCE, Move.BAKE, Move.FINISH)


def _json(value: object) -> Json:
    found = as_json(value)
    assert isinstance(found, dict)
    return found


def _summary(shadow: ShadowSummary) -> Json:
    return {
        "pairs": shadow.pairs,
        "unpaired": shadow.unpaired,
        "disagreements": shadow.disagreements,
        "candidate_errors": shadow.candidate_errors,
        "live_errors": shadow.live_errors,
        "worst_distance": shadow.worst_distance,
        "cut_s": shadow.cut_s,
    }
