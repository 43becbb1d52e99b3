"""Writing the steps of `steps.py` that are only rows, in the transaction of the decision."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import assert_never

from conch.core import SlotName

from .. import jobs
from ..state import (
    Build,
    BuildStatus,
    Deployment,
    DeploymentStatus,
    Json,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Transaction,
    VersionStatus,
    new_id,
)
from .deciding import BUILD, LOAD
from .steps import (
    EndRelease,
    FailServing,
    GoBack,
    GoLive,
    Place,
    Quarantine,
    Refuse,
    RequestBuild,
    RequestLoad,
    Retire,
    RowStep,
    SetReplicas,
    SetStatus,
    StartTraffic,
)
from .world import World

log = logging.getLogger(__name__)


def apply(tx: Transaction, world: World, step: RowStep) -> None:
    """Carry one step out; carrying it out again changes nothing more."""
    now = world.now
    match step:
        case RequestBuild(version=version):
            label = f"build {version.name} version {version.version}"
            jobs.enqueue(tx, kind=BUILD, subject=version.id, label=label, now=now)
            if version.status is not VersionStatus.BUILDING:
                tx.versions.change(version, status=VersionStatus.BUILDING, reason=None)
        case Refuse(version=version, reason=reason):
            tx.versions.change(version, status=VersionStatus.REFUSED, reason=reason)
        case Place(build=build, slot=slot):
            deployment = _deployment_for(tx, world)
            place(tx, deployment_id=deployment.id, build_id=build.id, slot=slot, now=now)
        case RequestLoad(serving=serving, build=build):
            version = world.version_of(build)
            label = f"load {version.name} version {version.version} into slot {serving.slot}"
            jobs.enqueue(tx, kind=LOAD, subject=serving.id, label=label, now=now)
        case FailServing(serving=serving, reason=reason):
            tx.servings.change(serving, status=ServingStatus.FAILED, reason=reason)
        case GoLive(build=build):
            deployment = _deployment_of(world)
            tx.deployments.change(
                deployment,
                live_build_id=build.id,
                salt=deployment.salt or salt_of(deployment.id),
                status=DeploymentStatus.SERVING,
            )
        case StartTraffic(release=release):
            tx.releases.change(release, status=ReleaseStatus.RUNNING)
        case EndRelease(release=release, reason=error):
            tx.releases.change(
                release, status=ReleaseStatus.FAILED, reason=error.as_dict(), finished_at=now
            )
            retire(tx, release.deployment_id, release.candidate_build_id, at=now)
        case Quarantine(build=build, reason=error):
            _quarantine(tx, world, build, error.as_dict())
            log.error("%s", error)
        case GoBack(release=release, build=build, reason=error):
            tx.releases.change(
                release,
                status=ReleaseStatus.ROLLED_BACK,
                weight=0,
                reason=error.as_dict(),
                finished_at=now,
            )
            tx.deployments.change(_deployment_of(world), live_build_id=build.id)
            for serving in tx.servings.find(deployment_id=release.deployment_id, build_id=build.id):
                tx.servings.change(serving, retire_at=None)
            log.error("%s %s", error, error.hint)
        case Retire(serving=serving):
            tx.servings.change(serving, status=ServingStatus.RETIRING)
        case SetStatus(status=status):
            tx.deployments.change(_deployment_of(world), status=status)
            if status is DeploymentStatus.FAILED:
                log.error("%s: the live version cannot answer", world.model.name)
        case SetReplicas(count=count):
            tx.deployments.change(_deployment_of(world), replica_count=count)
        case _:
            assert_never(step)
    log.info("%s: %s", world.model.name, type(step).__name__)


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


def retire(tx: Transaction, deployment_id: str, build_id: str, *, at: datetime) -> None:
    """Let a build be unloaded from a moment on."""
    for serving in tx.servings.find(deployment_id=deployment_id, build_id=build_id):
        tx.servings.change(serving, retire_at=at)


def _quarantine(tx: Transaction, world: World, build: Build, reason: Json) -> None:
    tx.builds.change(build, status=BuildStatus.QUARANTINED, reason=reason)
    version = world.version_of(build)
    if version.identity == build.identity and version.status is VersionStatus.VERIFIED:
        tx.versions.change(version, status=VersionStatus.REFUSED, reason=reason)
    for serving in world.servings:
        if serving.build_id == build.id:
            tx.servings.change(
                serving, status=ServingStatus.FAILED, reason=reason, retire_at=world.now
            )


def salt_of(identity: str) -> str:
    """Return the hash salt that belongs to a release or deployment: its id's first digits."""
    return identity.replace("-", "")[:12]


def _deployment_for(tx: Transaction, world: World) -> Deployment:
    """Return the model's deployment, created with its first placement."""
    if world.deployment is not None:
        return world.deployment
    url = world.target.inference_url if world.target else ""
    return tx.deployments.add(
        Deployment(
            id=new_id(),
            model_id=world.model.id,
            deployment_name=f"{world.model.triton_name}-{world.environment}",
            environment=world.environment,
            replica_count=len(world.target.in_slot(world.slots[0])) if world.target else 1,
            resource_config={},
            status=DeploymentStatus.PENDING,
            endpoint_url=f"{url}/v2/models/{world.model.triton_name}",
            created_at=world.now,
        )
    )


def _deployment_of(world: World) -> Deployment:
    assert world.deployment is not None, "a step of this kind is decided for a deployment"
    return world.deployment
