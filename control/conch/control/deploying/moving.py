"""What moves a release: the rows that go together, for people, the reconciler and the engine alike.

Every function writes within the caller's transaction, so that a move is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from conch.ab import Baseline
from conch.core import TOTAL_WEIGHT, SlotName

from ..plans import Plan, Road, plan_of
from ..state import (
    Build,
    Deployment,
    Json,
    RecordedDecision,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Stage,
    Transaction,
    new_id,
)

_LONGEST_MESSAGE: Final = 4096

WAITING: Final = "waiting-for-approval"
"""The code under which a release is held until a person approves."""


def salt_of(identity: str) -> str:
    """Return the hash salt that belongs to a release or deployment: its id's first digits."""
    return identity.replace("-", "")[:12]


def plan_in(release: Release) -> Plan | None:
    """Return a release's plan; None for one by hand."""
    return None if release.plan is None else plan_of(release.plan)


def open_release(
    tx: Transaction,
    *,
    deployment: Deployment,
    live: Build,
    candidate: Build,
    plan: Plan | None,
    weight: int,
    bake_s: int,
    note: str,
    actor: str,
    slots: tuple[SlotName, ...],
    now: datetime,
) -> Release:
    """Write a new release, and give its candidate a slot beside the live version.

    A plan that compares at equal shares gives the live build another slot as well.

    Args:
        weight: What the candidate gets once it is ready, in basis points; a plan's own first step
            stands in for it.
    """
    identity = new_id()
    seat = _seat(tx, deployment, live, candidate, slots=slots, now=now)
    arm = None
    if plan is not None and plan.rule.baseline is Baseline.EQUAL_SHARE:
        taken = {seat, _slot_of(tx, deployment, live)}
        arm = next(slot for slot in slots if slot not in taken)
        place(tx, deployment_id=deployment.id, build_id=live.id, slot=arm, now=now)
    release = tx.releases.add(
        Release(
            id=identity,
            deployment_id=deployment.id,
            candidate_build_id=candidate.id,
            baseline_build_id=live.id,
            status=ReleaseStatus.PREPARING,
            weight=0 if plan is not None else weight,
            salt=salt_of(identity),
            bake_s=bake_s if plan is None else round(plan.rule.bake_s),
            created_by=actor,
            note=note,
            plan=None if plan is None else plan.as_dict(),
            plan_digest="" if plan is None else plan.digest,
            baseline_slot=arm,
            created_at=now,
        )
    )
    tx.deployments.change(deployment, salt=release.salt)
    return release


def begin(tx: Transaction, deployment: Deployment, release: Release, *, now: datetime) -> Release:
    """Let a release whose candidate is ready take its first traffic: its weight, step, or flip.

    Where its plan says so, copies of requests come first.
    """
    plan = plan_in(release)
    if plan is None:
        release = tx.releases.change(release, status=ReleaseStatus.RUNNING)
        return open_stage(tx, release, step=0, weight=release.weight, now=now)
    if plan.shadow is not None:
        return tx.releases.change(release, status=ReleaseStatus.SHADOWING, hold=None)
    return begin_steps(tx, deployment, release, plan, now=now)


def begin_steps(
    tx: Transaction, deployment: Deployment, release: Release, plan: Plan, *, now: datetime
) -> Release:
    """Give a candidate its first real traffic: the plan's first step, or the flip."""
    if plan.road is Road.FLIP:
        return bake(tx, deployment, release, plan, now=now)
    release = tx.releases.change(release, status=ReleaseStatus.RUNNING, hold=None)
    return open_stage(tx, release, step=0, weight=plan.rule.steps[0].weight, now=now)


def open_stage(
    tx: Transaction, release: Release, *, step: int, weight: int, now: datetime
) -> Release:
    """Put a new weight in force: the stage that was ends, and the next one begins."""
    closed = close_stage(tx, release, now=now)
    number = 0 if closed is None else closed.number + 1
    plan = None if release.baseline_slot is None else plan_in(release)
    tx.stages.add(
        Stage(
            id=new_id(),
            release_id=release.id,
            number=number,
            step=step,
            weight=weight,
            control_weight=None if plan is None else plan.rule.control_weight_of(weight),
            created_at=now,
        )
    )
    return tx.releases.change(release, weight=weight, stage=number)


def close_stage(tx: Transaction, release: Release, *, now: datetime) -> Stage | None:
    """End the stage in force; return the last stage that there was."""
    stages: list[Stage] = tx.stages.find(release_id=release.id)
    if not stages:
        return None
    last = max(stages, key=lambda stage: stage.number)
    return last if last.ended_at is not None else tx.stages.change(last, ended_at=now)


def bake(
    tx: Transaction, deployment: Deployment, release: Release, plan: Plan, *, now: datetime
) -> Release:
    """Promote by plan: the candidate is live, the former version keeps the holdback."""
    go_live(tx, deployment, release.candidate_build_id)
    release = tx.releases.change(release, status=ReleaseStatus.BAKING, hold=None)
    return open_stage(tx, release, step=plan.guard_step, weight=plan.guard_weight, now=now)


def promote(
    tx: Transaction, deployment: Deployment, release: Release, *, keep_s: float, now: datetime
) -> Release:
    """Give the candidate everything and end the release; its baseline stays loaded for a while."""
    close_stage(tx, release, now=now)
    go_live(tx, deployment, release.candidate_build_id)
    let_go(tx, release, release.baseline_build_id, at=now + timedelta(seconds=keep_s))
    let_arm_go(tx, release, at=now)
    return _end(tx, release, ReleaseStatus.PROMOTED, weight=TOTAL_WEIGHT, reason=None, now=now)


def roll_back(
    tx: Transaction, deployment: Deployment, release: Release, *, reason: Json, now: datetime
) -> Release:
    """Give everything back to the baseline and end the release."""
    close_stage(tx, release, now=now)
    go_live(tx, deployment, release.baseline_build_id)
    until = now + timedelta(seconds=release.bake_s)
    let_go(tx, release, release.candidate_build_id, at=until)
    let_arm_go(tx, release, at=now)
    return _end(tx, release, ReleaseStatus.ROLLED_BACK, weight=0, reason=reason, now=now)


def go_live(tx: Transaction, deployment: Deployment, build_id: str) -> None:
    """Make a build the one that answers, and keep it loaded."""
    if deployment.live_build_id != build_id:
        tx.deployments.change(deployment, live_build_id=build_id)
    for serving in tx.servings.find(deployment_id=deployment.id, build_id=build_id):
        tx.servings.change(serving, retire_at=None)


def let_go(tx: Transaction, release: Release, build_id: str, *, at: datetime) -> None:
    """Let a build be unloaded from a moment on."""
    for serving in tx.servings.find(deployment_id=release.deployment_id, build_id=build_id):
        tx.servings.change(serving, retire_at=at)


def let_arm_go(tx: Transaction, release: Release, *, at: datetime) -> None:
    """Let the live build be unloaded from the slot in which it was only compared with."""
    if release.baseline_slot is None:
        return
    for serving in tx.servings.find(
        deployment_id=release.deployment_id,
        build_id=release.baseline_build_id,
        slot=release.baseline_slot,
    ):
        tx.servings.change(serving, retire_at=at)


def place(
    tx: Transaction, *, deployment_id: str, build_id: str, slot: SlotName, now: datetime
) -> Serving:
    """Assign a slot to a build; whatever the slot held of this model makes way."""
    for old in tx.servings.find(deployment_id=deployment_id, slot=slot):
        tx.servings.remove(old)
    return tx.servings.add(
        Serving(
            id=new_id(),
            deployment_id=deployment_id,
            build_id=build_id,
            slot=slot,
            status=ServingStatus.LOADING,
            created_at=now,
        )
    )


def record(
    tx: Transaction,
    release: Release,
    *,
    action: str,
    code: str,
    message: str,
    now: datetime,
    actor: str = "",
    taken_from: Json | None = None,
    shadow: Json | None = None,
) -> RecordedDecision:
    """Write down what was decided about a release, and by whom."""
    last = tx.decisions.find(release_id=release.id, newest_first=True, limit=1)
    return tx.decisions.add(
        RecordedDecision(
            id=new_id(),
            release_id=release.id,
            number=last[0].number + 1 if last else 0,
            status=release.status,
            action=action,
            code=code,
            message=message[:_LONGEST_MESSAGE],
            weight=release.weight,
            actor=actor,
            plan_digest=release.plan_digest,
            record=taken_from,
            shadow=shadow,
            created_at=now,
        )
    )


def hold_of(code: str, message: str, now: datetime) -> dict[str, Any]:
    """Return why a release does not go on by itself."""
    return {"code": code, "message": message, "since": now.isoformat()}


def same_hold(one: Mapping[str, Any] | None, code: str) -> bool:
    """Tell whether a release is held for this reason already."""
    return one is not None and one["code"] == code


def _seat(
    tx: Transaction,
    deployment: Deployment,
    live: Build,
    build: Build,
    *,
    slots: tuple[SlotName, ...],
    now: datetime,
) -> SlotName:
    """Keep the candidate where it is still loaded, or give it the slot beside the live one."""
    servings: list[Serving] = tx.servings.find(deployment_id=deployment.id)
    for serving in servings:
        if serving.build_id == build.id and serving.status is ServingStatus.READY:
            tx.servings.change(serving, retire_at=None)
            return serving.slot
    taken = _slot_of(tx, deployment, live)
    slot = next(slot for slot in slots if slot != taken)
    place(tx, deployment_id=deployment.id, build_id=build.id, slot=slot, now=now)
    return slot


def _slot_of(tx: Transaction, deployment: Deployment, live: Build) -> SlotName:
    """Return where the live build was first loaded: a later slot of it is only compared with."""
    serving = tx.servings.first(deployment_id=deployment.id, build_id=live.id)
    assert serving is not None, "a live build is in a slot"
    return serving.slot


def _end(
    tx: Transaction,
    release: Release,
    status: ReleaseStatus,
    *,
    weight: int,
    reason: Json | None,
    now: datetime,
) -> Release:
    return tx.releases.change(
        release, status=status, weight=weight, reason=reason, hold=None, finished_at=now
    )
