"""Writing the steps of `steps.py` that are only rows, in the transaction of the decision."""

from __future__ import annotations

import logging
from typing import Final, assert_never

from conch.core import ConchError

from .. import jobs
from ..plans import Plan
from ..state import (
    Build,
    BuildStatus,
    Deployment,
    DeploymentStatus,
    Json,
    Release,
    ReleaseStatus,
    ServingStatus,
    Transaction,
    VersionStatus,
    new_id,
)
from .comparing import begin_experiment, end_experiment
from .deciding import BUILD, LOAD
from .moving import (
    WAITING,
    begin,
    close_stage,
    hold_of,
    let_arm_go,
    let_go,
    open_release,
    place,
    record,
    roll_back,
    salt_of,
)
from .steps import (
    AskApproval,
    DivideTraffic,
    EndExperiment,
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
    StartRelease,
    StartTraffic,
)
from .world import World

log = logging.getLogger(__name__)

BY_ITSELF: Final = "conch"
"""Who starts a release that nobody asked for."""


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
            kept = tx.builds.first(
                version_id=version.id, identity=version.identity, status=BuildStatus.VERIFIED
            )  # in another form, before this one was asked for: it may go on serving
            status = VersionStatus.REFUSED if kept is None else VersionStatus.VERIFIED
            tx.versions.change(version, status=status, reason=reason)
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
        case StartRelease(build=build, plan=plan):
            _start(tx, world, build, plan)
        case StartTraffic(release=release):
            _begin(tx, world, release)
        case AskApproval(release=release):
            message = "The candidate is ready; a person has to let the release begin."
            release = tx.releases.change(release, hold=hold_of(WAITING, message, now))
            record(tx, release, action="hold", code=WAITING, message=message, now=now)
        case EndRelease(release=release, reason=error):
            _end(tx, world, release, error)
        case DivideTraffic(experiment=experiment):
            begin_experiment(tx, experiment, now=now)
        case EndExperiment(experiment=experiment, reason=error):
            end_experiment(tx, experiment, code=error.code, message=error.message, now=now)
            log.error("%s %s", error, error.hint)
        case Quarantine(build=build, reason=error):
            _quarantine(tx, world, build, error.as_dict())
            log.error("%s", error)
        case GoBack(release=release, reason=error):
            ended = roll_back(tx, _deployment_of(world), release, reason=error.as_dict(), now=now)
            record(tx, ended, action="roll-back", code=error.code, message=error.message, now=now)
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


def _start(tx: Transaction, world: World, build: Build, plan: Plan | None) -> None:
    live = world.live
    assert live is not None, "a release is started beside a live build"
    release = open_release(
        tx,
        deployment=_deployment_of(world),
        live=live,
        candidate=build,
        plan=plan,
        weight=0,
        bake_s=world.bake_s,
        note="",
        actor=BY_ITSELF,
        slots=world.slots,
        now=world.now,
    )
    name = "manual" if plan is None else plan.name
    message = f"Version {world.version_of(build).version} was verified; its plan is {name!r}."
    record(tx, release, action="start", code="verified", message=message, now=world.now)


def _begin(tx: Transaction, world: World, release: Release) -> None:
    started = begin(tx, _deployment_of(world), release, now=world.now)
    if started.plan is not None:
        message = "The candidate is loaded, warmed and answers as it did when it was built."
        record(tx, started, action="begin", code="preflight-passed", message=message, now=world.now)


def _end(tx: Transaction, world: World, release: Release, error: ConchError) -> None:
    """End a release whose candidate cannot serve; one that had traffic was rolled back."""
    if release.plan is not None and release.status is ReleaseStatus.RUNNING:
        ended = roll_back(tx, _deployment_of(world), release, reason=error.as_dict(), now=world.now)
    else:
        close_stage(tx, release, now=world.now)
        ended = tx.releases.change(
            release,
            status=ReleaseStatus.FAILED,
            reason=error.as_dict(),
            hold=None,
            finished_at=world.now,
        )
    let_go(tx, release, release.candidate_build_id, at=world.now)
    let_arm_go(tx, release, at=world.now)
    record(
        tx, ended, action=ended.status.value, code=error.code, message=error.message, now=world.now
    )


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
