"""What a person's word about a release is about: its rows, or the error that says why not."""

from __future__ import annotations

from conch.core import TOTAL_WEIGHT, ConflictError, InvalidValueError, ModelName, NotFoundError

from ..evidence import ServedArm
from ..state import (
    Build,
    BuildStatus,
    Deployment,
    Experiment,
    ExperimentStatus,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Transaction,
    Version,
)


class NotVerifiedError(ConflictError):
    """A version without a verified build was to get traffic."""

    code = "not-verified"


class RolledBackBeforeError(ConflictError):
    """A version that was rolled back is only released again on a person's word."""

    code = "rolled-back-before"


class ReleaseOpenError(ConflictError):
    """A model has one release at a time."""

    code = "release-open"


class ExperimentOpenError(ConflictError):
    """A model has one experiment at a time, and no release beside it."""

    code = "experiment-open"


class NoReleaseError(ConflictError):
    """There is no release in a state that allows the request."""

    code = "no-release"


class PlannedError(ConflictError):
    """The release goes by a plan, which alone sets its weights."""

    code = "release-planned"


class NotAPatchError(ConflictError):
    """A plan for new weights of the same graph was asked for another kind of change."""

    code = "not-a-patch"


def check_weight(weight: int) -> None:
    if not 0 <= weight <= TOTAL_WEIGHT:
        raise InvalidValueError(f"Weight {weight} is outside 0..{TOTAL_WEIGHT} basis points.")


def deployment_of(tx: Transaction, name: ModelName) -> Deployment:
    model = tx.models.first(name=name)
    deployment = tx.deployments.first(model_id=model.id) if model is not None else None
    if deployment is None:
        raise NotFoundError(
            f"{name!r} is not deployed.", hint="`conch models` lists what conch knows."
        )
    return deployment


def live_of(tx: Transaction, name: ModelName) -> tuple[Deployment, Build]:
    deployment = deployment_of(tx, name)
    if deployment.live_build_id is None:
        raise ConflictError(
            f"{name!r} serves nothing yet.", hint="Its first verified version goes live by itself."
        )
    return deployment, tx.builds.get(deployment.live_build_id)


def verified_of(tx: Transaction, name: ModelName, number: int) -> Build:
    version: Version | None = tx.versions.first(name=name, version=number)
    if version is None:
        raise NotFoundError(f"{name!r} has no version {number}.")
    builds = tx.builds.find(
        version_id=version.id, identity=version.identity, status=BuildStatus.VERIFIED
    )
    if not builds:
        why = f": {version.reason['message']}" if version.reason else "."
        raise NotVerifiedError(
            f"Version {number} of {name!r} is {version.status.value}, not verified{why}",
            hint="`conch models show` tells how far it is.",
        )
    return max(builds, key=lambda build: build.ordinal)


def served_arm(tx: Transaction, serving: Serving | None) -> ServedArm | None:
    """Return a serving as one side of a comparison; None where there is none."""
    if serving is None:
        return None
    ordinal = tx.builds.get(serving.build_id).ordinal
    return ServedArm(build_id=serving.build_id, ordinal=ordinal, slot=serving.slot)


def open_of(tx: Transaction, deployment: Deployment) -> Release | None:
    return tx.releases.first(
        deployment_id=deployment.id, status=[status for status in ReleaseStatus if status.open]
    )


def experiment_of(tx: Transaction, deployment: Deployment) -> Experiment | None:
    opened = [status for status in ExperimentStatus if status.open]
    return tx.experiments.first(deployment_id=deployment.id, status=opened)


def refuse_beside_experiment(tx: Transaction, name: ModelName, deployment: Deployment) -> None:
    if (opened := experiment_of(tx, deployment)) is not None:
        raise ExperimentOpenError(
            f"{name!r} has an open experiment ({opened.id}).",
            hint="Stop it first: `conch experiment stop`.",
        )


def opened_of(tx: Transaction, name: ModelName) -> Release:
    release = open_of(tx, deployment_of(tx, name))
    if release is None:
        raise NoReleaseError(
            f"{name!r} has no open release.", hint="Start one with `conch release start`."
        )
    return release


def running_of(tx: Transaction, name: ModelName) -> tuple[Deployment, Release]:
    release = opened_of(tx, name)
    if release.status is ReleaseStatus.PREPARING:
        raise NoReleaseError(
            f"The candidate of {name!r} is not loaded yet.",
            hint="`conch release show` tells how far it is; try again in a moment.",
        )
    return deployment_of(tx, name), release


def planned_of(tx: Transaction, name: ModelName) -> Release:
    release = opened_of(tx, name)
    if release.plan is None:
        raise NoReleaseError(
            f"The release of {name!r} goes by hand: there is nothing to pause or approve.",
            hint="Set its weight, promote it or roll it back.",
        )
    return release


def promoted_of(tx: Transaction, name: ModelName, deployment: Deployment) -> Release:
    """Return the release that made the live build live, if its baseline is still loaded."""
    newest = tx.releases.find(deployment_id=deployment.id, newest_first=True, limit=1)
    if newest and newest[0].status is ReleaseStatus.PROMOTED:
        kept = tx.servings.first(
            deployment_id=deployment.id,
            build_id=newest[0].baseline_build_id,
            status=ServingStatus.READY,
        )
        if kept is not None:
            return newest[0]
    raise NoReleaseError(
        f"{name!r} has no open release, and no earlier version that is still loaded.",
        hint="Start a release of the version that you want back.",
    )
