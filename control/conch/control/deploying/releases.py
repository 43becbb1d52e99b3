"""Releases by hand: a person moves traffic between two versions of a model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from conch.core import TOTAL_WEIGHT, ConflictError, InvalidValueError, ModelName, NotFoundError

from ..state import (
    Build,
    BuildStatus,
    Database,
    Deployment,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Transaction,
    Version,
    new_id,
)
from .applying import place, retire, salt_of
from .reconciling import Reconciler


class NotVerifiedError(ConflictError):
    """A version without a verified build was to get traffic."""

    code = "not-verified"


class RolledBackBeforeError(ConflictError):
    """A version that was rolled back is only released again on a person's word."""

    code = "rolled-back-before"


class ReleaseOpenError(ConflictError):
    """A model has one release at a time."""

    code = "release-open"


class NoReleaseError(ConflictError):
    """There is no release in a state that allows the request."""

    code = "no-release"


class Releases:
    """What a person can do with the traffic of a model.

    Every method returns once the data plane acknowledged the change.

    Args:
        bake_s: How long the version that lost stays loaded, where the call does not say, in
            seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        reconciler: Reconciler,
        now: Callable[[], datetime],
        bake_s: int,
    ) -> None:
        self._database = database
        self._reconciler = reconciler
        self._now = now
        self._bake_s = bake_s

    def start(
        self,
        name: ModelName,
        version: int,
        *,
        weight: int = 0,
        bake_s: int | None = None,
        note: str = "",
        actor: str,
    ) -> Release:
        """Load a verified version beside the live one and, once it is ready, give it a weight.

        Raises:
            NotFoundError: The model or version is unknown.
            NotVerifiedError: The version has no verified build.
            ReleaseOpenError: The model has an open release.
            RolledBackBeforeError: The version was rolled back before and `note` is empty.
            ConflictError: The version is live already, or the model serves nothing yet.
        """
        _check_weight(weight)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, live = _live(tx, name)
                build = _verified(tx, name, version)
                if build.id == live.id:
                    raise ConflictError(f"Version {version} of {name!r} is live already.")
                if (opened := _open(tx, deployment)) is not None:
                    raise ReleaseOpenError(
                        f"{name!r} has an open release ({opened.id}).",
                        hint="Promote it or roll it back first.",
                    )
                past = tx.releases.first(
                    deployment_id=deployment.id,
                    candidate_build_id=build.id,
                    status=ReleaseStatus.ROLLED_BACK,
                )
                if past is not None and not note:
                    raise RolledBackBeforeError(
                        f"Version {version} of {name!r} was rolled back before.",
                        hint="Start it again with a note that says why it is safe now.",
                    )
                identity = new_id()
                release = tx.releases.add(
                    Release(
                        id=identity,
                        deployment_id=deployment.id,
                        candidate_build_id=build.id,
                        baseline_build_id=live.id,
                        status=ReleaseStatus.PREPARING,
                        weight=weight,
                        salt=salt_of(identity),
                        bake_s=self._bake_s if bake_s is None else bake_s,
                        created_by=actor,
                        note=note,
                        created_at=self._now(),
                    )
                )
                tx.deployments.change(deployment, salt=release.salt)
                self._seat(tx, deployment, live, build)
            self._reconciler.run()
            return self._read(release)

    def set_weight(self, name: ModelName, weight: int) -> Release:
        """Give the candidate of the open release a share of the traffic, in basis points.

        Raises:
            NoReleaseError: There is no open release, or its candidate is not ready yet.
        """
        _check_weight(weight)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                _, release = _running(tx, name)
                release = tx.releases.change(release, weight=weight)
            self._reconciler.route()
            self._reconciler.run()
            return self._read(release)

    def promote(self, name: ModelName) -> Release:
        """Give the candidate all traffic; the former live version stays loaded for the bake time.

        Raises:
            NoReleaseError: There is no open release, or its candidate is not ready yet.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, release = _running(tx, name)
                release = self._end(tx, release, ReleaseStatus.PROMOTED, weight=TOTAL_WEIGHT)
                self._go_live(tx, deployment, release.candidate_build_id)
                self._let_go(tx, release, release.baseline_build_id)
            self._reconciler.route()
            self._reconciler.run()
            return release

    def rollback(self, name: ModelName, *, reason: str = "") -> Release:
        """Give all traffic back to the version that was live before; needs no load.

        Works on the open release and, during the bake time, on the one promoted last.

        Raises:
            NoReleaseError: Nothing can be rolled back.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment = _deployment(tx, name)
                release = _open(tx, deployment) or self._promoted(tx, name, deployment)
                release = self._end(
                    tx,
                    release,
                    ReleaseStatus.ROLLED_BACK,
                    weight=0,
                    reason={"code": "by-hand", "message": reason or "A person rolled it back."},
                )
                self._go_live(tx, deployment, release.baseline_build_id)
                self._let_go(tx, release, release.candidate_build_id)
            self._reconciler.route()
            self._reconciler.run()
            return release

    def _seat(self, tx: Transaction, deployment: Deployment, live: Build, build: Build) -> None:
        """Keep the candidate where it is still loaded, or give it the slot beside the live one."""
        servings: list[Serving] = tx.servings.find(deployment_id=deployment.id)
        for serving in servings:
            if serving.build_id == build.id and serving.status is ServingStatus.READY:
                tx.servings.change(serving, retire_at=None)
                return
        taken = next(s.slot for s in servings if s.build_id == live.id)
        slot = next(slot for slot in self._reconciler.slots if slot != taken)
        place(tx, deployment_id=deployment.id, build_id=build.id, slot=slot, now=self._now())

    def _end(
        self,
        tx: Transaction,
        release: Release,
        status: ReleaseStatus,
        *,
        weight: int,
        reason: dict[str, Any] | None = None,
    ) -> Release:
        return tx.releases.change(
            release, status=status, weight=weight, reason=reason, finished_at=self._now()
        )

    def _go_live(self, tx: Transaction, deployment: Deployment, build_id: str) -> None:
        if deployment.live_build_id != build_id:
            tx.deployments.change(deployment, live_build_id=build_id)
        for serving in tx.servings.find(deployment_id=deployment.id, build_id=build_id):
            tx.servings.change(serving, retire_at=None)

    def _let_go(self, tx: Transaction, release: Release, build_id: str) -> None:
        until = self._now() + timedelta(seconds=release.bake_s)
        retire(tx, release.deployment_id, build_id, at=until)

    def _promoted(self, tx: Transaction, name: ModelName, deployment: Deployment) -> Release:
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

    def _read(self, release: Release) -> Release:
        with self._database.begin() as tx:
            return tx.releases.get(release.id)


def _check_weight(weight: int) -> None:
    if not 0 <= weight <= TOTAL_WEIGHT:
        raise InvalidValueError(f"Weight {weight} is outside 0..{TOTAL_WEIGHT} basis points.")


def _deployment(tx: Transaction, name: ModelName) -> Deployment:
    model = tx.models.first(name=name)
    deployment = tx.deployments.first(model_id=model.id) if model is not None else None
    if deployment is None:
        raise NotFoundError(
            f"{name!r} is not deployed.", hint="`conch models` lists what conch knows."
        )
    return deployment


def _live(tx: Transaction, name: ModelName) -> tuple[Deployment, Build]:
    deployment = _deployment(tx, name)
    if deployment.live_build_id is None:
        raise ConflictError(
            f"{name!r} serves nothing yet.", hint="Its first verified version goes live by itself."
        )
    return deployment, tx.builds.get(deployment.live_build_id)


def _verified(tx: Transaction, name: ModelName, number: int) -> Build:
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


def _open(tx: Transaction, deployment: Deployment) -> Release | None:
    return tx.releases.first(
        deployment_id=deployment.id, status=[status for status in ReleaseStatus if status.open]
    )


def _running(tx: Transaction, name: ModelName) -> tuple[Deployment, Release]:
    deployment = _deployment(tx, name)
    release = _open(tx, deployment)
    if release is None:
        raise NoReleaseError(
            f"{name!r} has no open release.", hint="Start one with `conch release start`."
        )
    if release.status is not ReleaseStatus.RUNNING:
        raise NoReleaseError(
            f"The candidate of {name!r} is not loaded yet.",
            hint="`conch release show` tells how far it is; try again in a moment.",
        )
    return deployment, release
