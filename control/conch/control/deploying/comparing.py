"""What moves an experiment: the rows that go together, for people, the reconciler and the engine.

Every function writes within the caller's transaction, so that a move is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from conch.core import SlotName

from ..plans import Plan
from ..state import (
    Deployment,
    Experiment,
    ExperimentStatus,
    Finding,
    Json,
    Serving,
    ServingStatus,
    Transaction,
    new_id,
)
from .moving import place, salt_of

_LONGEST_MESSAGE = 4096


def open_experiment(
    tx: Transaction,
    *,
    deployment: Deployment,
    name: str,
    control: str,
    shares: Mapping[str, int],
    seats: Mapping[str, SlotName],
    plan: Plan,
    note: str,
    actor: str,
    now: datetime,
) -> Experiment:
    """Write a new experiment, and give each treatment its slot.

    Args:
        shares: Of every arm, in basis points, by build.
        seats: The slots of the treatments that are in none yet, by build.
    """
    identity = new_id()
    experiment = tx.experiments.add(
        Experiment(
            id=identity,
            deployment_id=deployment.id,
            name=name,
            status=ExperimentStatus.PREPARING,
            control_build_id=control,
            shares=dict(shares),
            salt=salt_of(identity),
            plan=plan.as_dict(),
            plan_digest=plan.digest,
            created_by=actor,
            note=note,
            created_at=now,
        )
    )
    tx.deployments.change(deployment, salt=experiment.salt)
    for serving in tx.servings.find(deployment_id=deployment.id):
        if serving.build_id in shares and serving.build_id not in seats:
            tx.servings.change(serving, retire_at=None)
    for build_id, slot in seats.items():
        place(tx, deployment_id=deployment.id, build_id=build_id, slot=slot, now=now)
    return experiment


def begin_experiment(tx: Transaction, experiment: Experiment, *, now: datetime) -> Experiment:
    """Divide the traffic between arms that are all ready."""
    running = tx.experiments.change(experiment, status=ExperimentStatus.RUNNING, started_at=now)
    message = "Every arm is loaded, warmed and answers as it did when it was built."
    find(tx, running, action="begin", code="preflight-passed", message=message, now=now)
    return running


def end_experiment(
    tx: Transaction,
    experiment: Experiment,
    *,
    code: str,
    message: str,
    now: datetime,
    actor: str = "",
    records: Json | None = None,
) -> Experiment:
    """Give everything back to the live version; the treatments may be unloaded."""
    ended = tx.experiments.change(
        experiment,
        status=ExperimentStatus.ENDED,
        hold=None,
        outcome={"code": code, "message": message},
        finished_at=now,
    )
    for serving in tx.servings.find(deployment_id=experiment.deployment_id):
        if serving.build_id in experiment.treatments:
            tx.servings.change(serving, retire_at=now)
    find(tx, ended, action="end", code=code, message=message, now=now, actor=actor, records=records)
    return ended


def find(
    tx: Transaction,
    experiment: Experiment,
    *,
    action: str,
    code: str,
    message: str,
    now: datetime,
    actor: str = "",
    records: Json | None = None,
) -> Finding:
    """Write down what was found in an experiment, and by whom."""
    last = tx.findings.find(experiment_id=experiment.id, newest_first=True, limit=1)
    return tx.findings.add(
        Finding(
            id=new_id(),
            experiment_id=experiment.id,
            number=last[0].number + 1 if last else 0,
            action=action,
            code=code,
            message=message[:_LONGEST_MESSAGE],
            actor=actor,
            records=records,
            created_at=now,
        )
    )


def seats_for(
    servings: list[Serving],
    *,
    control: str,
    treatments: tuple[str, ...],
    slots: tuple[SlotName, ...],
) -> dict[str, SlotName] | None:
    """Return a slot for each treatment that is to be loaded; None where there are too few.

    One that failed there before is loaded into the same slot again. Slots that hold nothing come
    next; what is in the others has lost and makes way.
    """
    held = {one.build_id: one for one in servings}
    alive = (ServingStatus.READY, ServingStatus.LOADING)
    due = [one for one in treatments if one not in held or held[one].status not in alive]
    seats = {one: held[one].slot for one in due if one in held}
    taken = {held[one].slot for one in (control, *treatments) if one in held}
    empty = [slot for slot in slots if slot not in {one.slot for one in servings}]
    lost = [slot for slot in slots if slot not in taken and slot not in empty]
    rest = [one for one in due if one not in seats]
    free = [*empty, *lost]
    return seats | dict(zip(rest, free, strict=False)) if len(rest) <= len(free) else None
