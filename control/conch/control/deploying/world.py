"""The world of one model as one frozen value: what the reconciler decides from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from conch.core import TOTAL_WEIGHT, Arm, SlotName, TargetState, TrafficSplit

from ..state import (
    Build,
    BuildStatus,
    Deployment,
    Job,
    Model,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Transaction,
    Version,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that concerns one model, at one moment.

    Attributes:
        deployment: None before the first version was verified.
        servings: What is, or is to be, in the slots.
        release: The open release, if any.
        promoted: The release that made the live build live; None for a model's first.
        jobs: The newest job of each (kind, subject), open or ended.
        target: The serving target; None while it cannot be seen.
        quarantined: The builds that the target does not load any more, each with the reason.
        slots: The target's slots.
        environment: The name of the target's environment, such as `local`.
    """

    now: datetime
    model: Model
    versions: tuple[Version, ...]
    builds: Mapping[str, Build]
    deployment: Deployment | None
    servings: tuple[Serving, ...]
    release: Release | None
    jobs: Mapping[tuple[str, str], Job]
    target: TargetState | None
    slots: tuple[SlotName, ...]
    environment: str
    promoted: Release | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> Build | None:
        """The build that answers callers who name no version."""
        if self.deployment is None or self.deployment.live_build_id is None:
            return None
        return self.builds[self.deployment.live_build_id]

    def serving_of(self, build_id: str) -> Serving | None:
        """Return where a build is, or is to be, loaded."""
        return next((s for s in self.servings if s.build_id == build_id), None)

    @property
    def predecessor(self) -> Build | None:
        """The build that was live before, if it is still loaded and may serve."""
        if self.promoted is None:
            return None
        build = self.builds[self.promoted.baseline_build_id]
        serving = self.serving_of(build.id)
        ready = serving is not None and serving.status is ServingStatus.READY
        return build if ready and build.status is BuildStatus.VERIFIED else None

    def version_of(self, build: Build) -> Version:
        """Return the registered version that a build came from."""
        return next(version for version in self.versions if version.id == build.version_id)

    def newest_deployable(self) -> Build | None:
        """Return the verified build of the highest version that policy took up and that exists."""
        wanted = {v.id: v.version for v in self.versions if v.wanted and v.present}
        found = [
            build
            for build in self.builds.values()
            if build.version_id in wanted and build.status is BuildStatus.VERIFIED
        ]
        return max(found, key=lambda b: (wanted[b.version_id], b.ordinal), default=None)


def observe(
    tx: Transaction,
    model: Model,
    *,
    target: TargetState | None,
    slots: tuple[SlotName, ...],
    environment: str,
    now: datetime,
    quarantined: Mapping[str, str] = MappingProxyType({}),
) -> World:
    """Load one model's world from the database."""
    deployment = tx.deployments.first(model_id=model.id)
    versions = tx.versions.find(model_id=model.id)
    servings: list[Serving] = []
    release: Release | None = None
    promoted: list[Release] = []
    if deployment is not None:
        servings = tx.servings.find(deployment_id=deployment.id)
        release = tx.releases.first(
            deployment_id=deployment.id, status=[s for s in ReleaseStatus if s.open]
        )
        promoted = tx.releases.find(
            deployment_id=deployment.id,
            candidate_build_id=deployment.live_build_id,
            status=ReleaseStatus.PROMOTED,
            newest_first=True,
            limit=1,
        )
    return World(
        now=now,
        model=model,
        versions=tuple(versions),
        builds={build.id: build for build in tx.builds.find(model_id=model.id)},
        deployment=deployment,
        servings=tuple(servings),
        release=release,
        jobs=_newest_jobs(tx, [v.id for v in versions] + [s.id for s in servings]),
        target=target,
        slots=slots,
        environment=environment,
        promoted=promoted[0] if promoted else None,
        quarantined=quarantined,
    )


def _newest_jobs(tx: Transaction, subjects: list[str]) -> dict[tuple[str, str], Job]:
    return {(job.kind, job.subject): job for job in tx.jobs.find(subject=subjects)}


def desired_split(world: World) -> TrafficSplit | None:
    """Return how the model's traffic should be divided, or None while nothing can serve.

    The candidate of a running release comes first, so that a unit once in it stays in it while its
    weight grows. Builds that are loaded but get no weight are arms of weight 0: a request that
    names their version still reaches them.
    """
    deployment, live = world.deployment, world.live
    if deployment is None or live is None:
        return None
    weights = {live.id: TOTAL_WEIGHT}
    order = [live.id]
    release = world.release
    if release is not None and release.status is ReleaseStatus.RUNNING:
        weights = {
            release.candidate_build_id: release.weight,
            live.id: TOTAL_WEIGHT - release.weight,
        }
        order = [release.candidate_build_id, live.id]
    ready = {s.build_id: s for s in world.servings if s.status is ServingStatus.READY}
    if live.id not in ready:
        return None
    order += [build_id for build_id in ready if build_id not in order]
    arms = tuple(
        Arm(
            slot=ready[build_id].slot,
            ordinal=world.builds[build_id].ordinal,
            build_id=build_id,
            weight=weights.get(build_id, 0),
        )
        for build_id in order
        if build_id in ready
    )
    if sum(arm.weight for arm in arms) != TOTAL_WEIGHT:  # the candidate went away under the release
        arms = tuple(
            Arm(
                slot=arm.slot,
                ordinal=arm.ordinal,
                build_id=arm.build_id,
                weight=TOTAL_WEIGHT if arm.build_id == live.id else 0,
            )
            for arm in arms
        )
    salt = release.salt if release is not None else deployment.salt
    return TrafficSplit(model=world.model.triton_name, arms=arms, salt=salt)
