"""What to do next for one model: a pure function of its world.

Each step is a value of `steps.py`, applied by `applying.py`; a step changes one thing and the next
look at the world decides the one after it, so that any point at which the process dies leads back
here and on to the same end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from conch.core import ConchError, ServerState, SlotName

from ..jobs import CancelledError
from ..plans import Gate
from ..state import (
    Build,
    BuildStatus,
    DeploymentStatus,
    ExperimentStatus,
    Job,
    JobStatus,
    Json,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    VersionStatus,
)
from .moving import WAITING, plan_in, same_hold
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
    SetReplicas,
    SetStatus,
    StartRelease,
    StartTraffic,
    Step,
    Unload,
)
from .world import World

BUILD = "build"
LOAD = "load"
RETRY_AFTER_S: Final = 5.0
"""How long a failure that may pass is left alone, in seconds."""


class CandidateFailedError(ConchError):
    """The candidate of a release did not load, or did not pass its preflight."""

    code = "candidate-failed"


class QuarantinedError(ConchError):
    """A build crashed its servers again and again; it is not loaded any more."""

    code = "version-quarantined"


class ArmLostError(ConchError):
    """An arm of a comparison cannot serve, so that nothing is left to compare."""

    code = "arm-lost"


def decide(world: World) -> tuple[Step, ...]:
    """Return the steps that bring one model nearer to what is wanted; empty when it is there."""
    return (
        *_quarantine(world),
        *_go_back(world),
        *_builds(world),
        *_first(world),
        *_loads(world),
        *_start(world),
        *_release(world),
        *_experiment(world),
        *_retire(world),
        *_status(world),
        *_replicas(world),
    )


def _quarantine(world: World) -> Iterator[Step]:
    for build in world.builds.values():
        why = world.quarantined.get(build.id)
        if why is not None and build.status is BuildStatus.VERIFIED:
            version = world.version_of(build)
            reason = QuarantinedError(
                f"Version {version.version} of {version.name!r} is quarantined: {why}",
                hint="Register a corrected version, or build this one again.",
            )
            yield Quarantine(build=build, reason=reason)


def _go_back(world: World) -> tuple[Step, ...]:
    """A live build that cannot serve makes way for the one before it; nothing is promoted so."""
    live, before, promoted, opened = world.live, world.predecessor, world.promoted, world.release
    if live is None or before is None or promoted is None:
        return ()
    baking = promoted.status is ReleaseStatus.BAKING
    if opened is not None and not baking:
        return ()
    barred = live.status is BuildStatus.QUARANTINED
    if not barred and not (baking and _failed(world, live)):
        return ()
    version = world.version_of(live)
    kind = QuarantinedError if barred else CandidateFailedError
    what = "was quarantined" if barred else "could not be loaded any more"
    reason = kind(
        f"Version {version.version} of {version.name!r} {what} while it was live.",
        hint="The version that was live before answers again.",
    )
    return (GoBack(release=promoted, build=before, reason=reason),)


def _builds(world: World) -> Iterator[Step]:
    for version in world.versions:
        if not (version.wanted and version.present):
            continue
        if version.status is VersionStatus.REGISTERED:
            yield RequestBuild(version=version)
        elif version.status is VersionStatus.BUILDING:
            match _last(world, BUILD, version.id):
                case Last.NONE:
                    yield RequestBuild(version=version)
                case Job() as job:
                    yield Refuse(version=version, reason=_why(job))


class Last(Enum):
    """What became of the last job for a subject, where it is not a failure that stands."""

    NONE = auto()
    PENDING = auto()


def _last(world: World, kind: str, subject: str) -> Last | Job:
    """Return the last job if it failed for good, or whether to ask (again) or to wait."""
    job = world.jobs.get((kind, subject))
    if job is None or job.status is JobStatus.SUCCEEDED:
        return Last.NONE
    if not job.status.ended or job.finished_at is None:
        return Last.PENDING
    if job.outcome is not None and job.outcome.get("retryable"):
        due = job.finished_at + timedelta(seconds=RETRY_AFTER_S)
        return Last.NONE if due <= world.now else Last.PENDING
    return job


def _why(job: Job) -> Json:
    return job.outcome or CancelledError(f"Job {job.label!r} was cancelled.").as_dict()


def _first(world: World) -> tuple[Step, ...]:
    """A model without a live build takes its newest verified one by itself."""
    if world.live is not None:
        return ()
    build = world.newest_deployable()
    if build is None or world.target is None:
        return ()
    serving = world.serving_of(build.id)
    if serving is None:
        return (Place(build=build, slot=_free_slot(world)),)
    return (GoLive(build=build),) if serving.status is ServingStatus.READY else ()


def _free_slot(world: World) -> SlotName:
    taken = {serving.slot for serving in world.servings}
    return next((slot for slot in world.slots if slot not in taken), world.slots[0])


def _loads(world: World) -> Iterator[Step]:
    for serving in world.servings:
        loading = serving.status is ServingStatus.LOADING
        if not loading and not _lost(world, serving):
            continue
        match _last(world, LOAD, serving.id):
            case Last.NONE:
                yield RequestLoad(serving=serving, build=world.builds[serving.build_id])
            case Job() as job:
                yield FailServing(serving=serving, reason=_why(job))


def _lost(world: World, serving: Serving) -> bool:
    """Whether a ready server of the slot does not hold a build that should be there."""
    if world.target is None or serving.status is not ServingStatus.READY:
        return False
    ordinal = world.builds[serving.build_id].ordinal
    return any(
        server.state is ServerState.READY and not server.holds(world.model.triton_name, ordinal)
        for server in world.target.in_slot(serving.slot)
    )


def _start(world: World) -> tuple[Step, ...]:
    """A newer verified build is released by itself where policy says so, and was never tried."""
    build, live = world.successor, world.live
    held = world.release is not None or world.experiment is not None
    if build is None or live is None or held or world.target is None:
        return ()
    serving = world.serving_of(live.id)
    if serving is None or serving.status is not ServingStatus.READY:
        return ()
    policy = world.policy(world.model, build, live)
    return () if policy is None else (StartRelease(build=build, plan=policy.plan),)


def _release(world: World) -> tuple[Step, ...]:
    release = world.release
    if release is None or release.status is ReleaseStatus.BAKING:
        return ()
    serving = world.serving_of(release.candidate_build_id)
    if serving is None or serving.status is ServingStatus.FAILED:
        return (EndRelease(release=release, reason=_cannot_serve(world, release, serving)),)
    arm = world.baseline_arm
    if release.baseline_slot is not None and (arm is None or arm.status is ServingStatus.FAILED):
        return (EndRelease(release=release, reason=_cannot_compare(world, release, arm)),)
    ready = serving.status is ServingStatus.READY and (
        arm is None or arm.status is ServingStatus.READY
    )
    if release.status is ReleaseStatus.PREPARING and ready:
        plan = plan_in(release)
        if plan is None or Gate.START not in plan.approvals or Gate.START in release.approved:
            return () if release.paused else (StartTraffic(release=release),)
        if not same_hold(release.hold, WAITING):
            return (AskApproval(release=release),)
    return ()


def _cannot_serve(world: World, release: Release, serving: Serving | None) -> ConchError:
    build = world.builds[release.candidate_build_id]
    version = world.version_of(build)
    why = serving.reason["message"] if serving is not None and serving.reason else "it is gone"
    barred = build.status is BuildStatus.QUARANTINED and release.plan is not None
    kind = QuarantinedError if barred else CandidateFailedError
    return kind(
        f"Version {version.version} of {version.name!r} cannot serve: {why}",
        hint="The live version was not touched. Register a corrected version.",
    )


def _cannot_compare(world: World, release: Release, arm: Serving | None) -> ConchError:
    why = arm.reason["message"] if arm is not None and arm.reason else "it is in no slot."
    return ArmLostError(
        f"{world.called(release.baseline_build_id)} cannot be served in slot "
        f"{release.baseline_slot} as well, to be compared with: {why}",
        hint="Start the release again, or without `equal_baseline`.",
    )


def _experiment(world: World) -> tuple[Step, ...]:
    """An experiment begins when every arm is ready, and ends when one cannot serve."""
    experiment, live = world.experiment, world.live
    if experiment is None or live is None:
        return ()
    if live.id != experiment.control_build_id:
        gone = ArmLostError(
            f"The live version of {world.model.name!r} is another one than at the beginning.",
            hint="Start the experiment again beside the version that is live now.",
        )
        return (EndExperiment(experiment=experiment, reason=gone),)
    servings = {build_id: world.serving_of(build_id) for build_id in experiment.shares}
    for build_id, serving in servings.items():
        if serving is None or serving.status in (ServingStatus.FAILED, ServingStatus.RETIRING):
            why = serving.reason["message"] if serving and serving.reason else "it is in no slot."
            lost = ArmLostError(
                f"{world.called(build_id)} cannot serve: {why}",
                hint="The live version answers everybody again.",
            )
            return (EndExperiment(experiment=experiment, reason=lost),)
    ready = all(one and one.status is ServingStatus.READY for one in servings.values())
    if ready and experiment.status is ExperimentStatus.PREPARING:
        return (DivideTraffic(experiment=experiment),)
    return ()


def _retire(world: World) -> Iterator[Step]:
    needed = {world.deployment.live_build_id} if world.deployment else set()
    if world.release is not None:
        needed |= {world.release.candidate_build_id, world.release.baseline_build_id}
    if world.experiment is not None:
        needed |= set(world.experiment.shares)
    for serving in world.servings:
        if serving.status is ServingStatus.RETIRING:
            if not _routed(world, serving):
                yield Unload(serving=serving)
        elif serving not in (world.serving_of(serving.build_id), world.baseline_arm) or (
            serving.build_id not in needed
            and serving.retire_at is not None
            and serving.retire_at <= world.now
        ):
            yield Retire(serving=serving)


def _routed(world: World, serving: Serving) -> bool:
    """Whether the data plane may still send something to a serving."""
    if world.target is None:
        return True
    split = world.target.routes.get(world.model.triton_name)
    return split is not None and any(arm.build_id == serving.build_id for arm in split.arms)


def _status(world: World) -> tuple[Step, ...]:
    deployment, live = world.deployment, world.live
    if deployment is None:
        return ()
    if live is None:
        status = DeploymentStatus.PENDING
    elif _failed(world, live):
        status = DeploymentStatus.FAILED
    elif not _wanted(world, live):
        status = DeploymentStatus.ORPHANED
    elif world.release is not None:
        status = DeploymentStatus.RELEASING
    else:
        status = DeploymentStatus.SERVING
    return () if status is deployment.status else (SetStatus(status=status),)


def _failed(world: World, live: Build) -> bool:
    """Whether the live build cannot answer, for a reason that does not pass by itself."""
    serving = world.serving_of(live.id)
    return serving is not None and serving.status is ServingStatus.FAILED


def _replicas(world: World) -> tuple[Step, ...]:
    serving = None if world.live is None else world.serving_of(world.live.id)
    if world.deployment is None or world.target is None or serving is None:
        return ()
    count = len(world.target.in_slot(serving.slot))
    return () if count in (0, world.deployment.replica_count) else (SetReplicas(count=count),)


def _wanted(world: World, build: Build) -> bool:
    """Whether the registry still has the version that a build came from."""
    version = world.version_of(build)
    return version.present and version.identity == build.identity
