"""The world of one model as one frozen value: what the reconciler decides from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from conch.core import TOTAL_WEIGHT, Arm, SlotName, TargetState, TrafficSplit

from ..plans import ByItself
from ..state import (
    Build,
    BuildStatus,
    Deployment,
    Experiment,
    ExperimentStatus,
    Job,
    Model,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Transaction,
    Version,
    VersionStatus,
)

R = TypeVar("R")
Policy = Callable[[Model, Build, Build], ByItself | None]
"""What a model's candidate build does by itself, next to the live build."""


def by_hand(model: Model, candidate: Build, live: Build) -> ByItself | None:
    """Leave every release to a person."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that concerns one model, at one moment.

    Attributes:
        deployment: None before the first version was verified.
        servings: What is, or is to be, in the slots.
        release: The open release, if any.
        experiment: The open experiment, if any; never beside a release.
        promoted: The release that made the live build live; None for a model's first.
        jobs: The newest job of each (kind, subject), open or ended.
        target: The serving target; None while it cannot be seen.
        quarantined: The builds that the target does not load any more, each with the reason.
        bake_s: How long a model's first version is on trial (later ones as their release says),
            and the build that loses a release by hand stays loaded, in seconds.
        slots: The target's slots.
        environment: The name of the target's environment, such as `local`.
        released: The builds that were ever released, or began to be.
        policy: What a build does by itself once it is verified; None: it waits for a person.
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
    experiment: Experiment | None = None
    promoted: Release | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    bake_s: int = 0
    policy: Policy = by_hand

    @property
    def live(self) -> Build | None:
        """The build that answers callers who name no version."""
        if self.deployment is None or self.deployment.live_build_id is None:
            return None
        return self.builds[self.deployment.live_build_id]

    def serving_of(self, build_id: str) -> Serving | None:
        """Return where a build is, or is to be, loaded to serve; not where it is compared with."""
        arm = self.baseline_arm
        return next((s for s in self.servings if s.build_id == build_id and s is not arm), None)

    @property
    def baseline_arm(self) -> Serving | None:
        """Where the open release serves its baseline once more, to compare with it."""
        release = self.release
        if release is None or release.baseline_slot is None:
            return None
        place = (release.baseline_slot, release.baseline_build_id)
        return next((s for s in self.servings if (s.slot, s.build_id) == place), None)

    @property
    def predecessor(self) -> Build | None:
        """The build that was live before, if it is still loaded and may serve."""
        if self.promoted is None:
            return None
        build = self.builds[self.promoted.baseline_build_id]
        serving = self.serving_of(build.id)
        ready = serving is not None and serving.status is ServingStatus.READY
        return build if ready and build.status is BuildStatus.VERIFIED else None

    @property
    def baked(self) -> bool:
        """Whether the live build was live for its whole bake time."""
        if self.promoted is not None:
            since, bake_s = self.promoted.finished_at, self.promoted.bake_s
        else:
            serving = None if self.live is None else self.serving_of(self.live.id)
            since, bake_s = None if serving is None else serving.created_at, self.bake_s
        return since is not None and since + timedelta(seconds=bake_s) <= self.now

    def version_of(self, build: Build) -> Version:
        """Return the registered version that a build came from."""
        return next(version for version in self.versions if version.id == build.version_id)

    def called(self, build_id: str) -> str:
        """Return what people call a build: its version, and its ordinal where that has several."""
        build = self.builds[build_id]
        built = sum(one.version_id == build.version_id for one in self.builds.values())
        return called(self.version_of(build), build, alone=built == 1)

    @property
    def successor(self) -> Build | None:
        """The build that is to be released by itself: newer than the live one, never tried."""
        live, newest = self.live, self.newest_deployable()
        if live is None or newest is None or newest.id in self.released:
            return None
        known = {version.id for version in self.versions}
        if live.version_id not in known:
            return None
        older = self.version_of(newest).version <= self.version_of(live).version
        return None if newest.id == live.id or older else newest

    def newest_deployable(self) -> Build | None:
        """Return the verified build of the highest version that policy took up and that exists."""
        wanted = {v.id: v.version for v in self.versions if v.wanted and v.present}
        found = [
            build
            for build in self.builds.values()
            if build.version_id in wanted and build.status is BuildStatus.VERIFIED
        ]
        return max(found, key=lambda b: (wanted[b.version_id], b.ordinal), default=None)


def called(version: Version, build: Build, *, alone: bool) -> str:
    """Return what people call a build, at the beginning of a sentence.

    Args:
        version: Its version.
        build: The build.
        alone: Whether it is the version's only one.
    """
    several = "" if alone else f" (build {build.ordinal})"
    return f"Version {version.version}{several} of {version.name!r}"


def observe(
    tx: Transaction,
    models: Sequence[Model],
    *,
    target: TargetState | None,
    slots: tuple[SlotName, ...],
    environment: str,
    now: datetime,
    quarantined: Mapping[str, str] = MappingProxyType({}),
    bake_s: int = 0,
    policy: Policy = by_hand,
) -> list[World]:
    """Load the worlds of some models, in the order given; as many queries as for one model."""
    keys = [model.id for model in models]
    versions = _by(tx.versions.find(model_id=keys), lambda one: one.model_id)
    builds = _by(tx.builds.find(model_id=keys), lambda one: one.model_id)
    deployments = {one.model_id: one for one in tx.deployments.find(model_id=keys)}
    deployed = [one.id for one in deployments.values()]
    servings = _by(tx.servings.find(deployment_id=deployed), lambda one: one.deployment_id)
    opened = {
        one.deployment_id: one
        for one in tx.releases.find(
            deployment_id=deployed, status=[status for status in ReleaseStatus if status.open]
        )
    }
    experiments = {
        one.deployment_id: one
        for one in tx.experiments.find(
            deployment_id=deployed, status=[one for one in ExperimentStatus if one.open]
        )
    }
    lives = [one.live_build_id for one in deployments.values() if one.live_build_id is not None]
    promoted = {
        (one.deployment_id, one.candidate_build_id): one
        for one in tx.releases.newest(
            "deployment_id",
            "candidate_build_id",
            deployment_id=deployed,
            candidate_build_id=lives,
            status=[ReleaseStatus.BAKING, ReleaseStatus.PROMOTED],
        )
    }
    tried = _by(tx.releases.find(deployment_id=deployed), lambda one: one.deployment_id)
    jobs = _by(_newest_jobs(tx, versions, servings), lambda one: one.subject)
    found = []
    for model in models:
        deployment = deployments.get(model.id)
        key = "" if deployment is None else deployment.id
        live = None if deployment is None else deployment.live_build_id
        known, placed = versions.get(model.id, []), servings.get(key, [])
        found.append(
            World(
                now=now,
                model=model,
                versions=tuple(known),
                builds={build.id: build for build in builds.get(model.id, ())},
                deployment=deployment,
                servings=tuple(placed),
                release=opened.get(key),
                jobs={
                    (job.kind, job.subject): job
                    for subject in [*(v.id for v in known), *(s.id for s in placed)]
                    for job in jobs.get(subject, ())
                },
                target=target,
                slots=slots,
                environment=environment,
                experiment=experiments.get(key),
                promoted=promoted.get((key, live or "")),
                quarantined=quarantined,
                released=frozenset(one.candidate_build_id for one in tried.get(key, ())),
                bake_s=bake_s,
                policy=policy,
            )
        )
    return found


def _by(records: Sequence[R], key: Callable[[R], str]) -> dict[str, list[R]]:
    groups: dict[str, list[R]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _newest_jobs(
    tx: Transaction,
    versions: Mapping[str, Sequence[Version]],
    servings: Mapping[str, Sequence[Serving]],
) -> list[Job]:
    """Return the newest job of each kind for what one may be under way for, or asked for again."""
    subjects = [
        version.id
        for group in versions.values()
        for version in group
        if version.status is VersionStatus.BUILDING
    ]
    subjects += [serving.id for group in servings.values() for serving in group]
    return tx.jobs.newest("kind", "subject", subject=subjects)


def desired_split(world: World) -> TrafficSplit | None:
    """Return how the model's traffic should be divided, or None while nothing can serve.

    The candidate of a running release comes first, so that a unit once in it stays in it while its
    weight grows; so do the treatments of an experiment. Builds that are loaded but get no weight
    are arms of weight 0: a request that names their version still reaches them.
    """
    deployment, live = world.deployment, world.live
    if deployment is None or live is None:
        return None
    weights = {live.id: TOTAL_WEIGHT}
    order, divided_by, stage = [live.id], "", 0
    release, experiment = world.release, world.experiment
    if release is not None and release.status in (ReleaseStatus.RUNNING, ReleaseStatus.BAKING):
        weights = {
            release.candidate_build_id: release.weight,
            release.baseline_build_id: TOTAL_WEIGHT - release.weight,
        }
        order = [release.candidate_build_id, release.baseline_build_id]
        divided_by, stage = release.id, release.stage
    elif experiment is not None and experiment.status is ExperimentStatus.RUNNING:
        weights = {key: int(weight) for key, weight in experiment.shares.items()}
        order = [*experiment.treatments, experiment.control_build_id]
        divided_by = experiment.id
    ready = {
        s.build_id: s
        for s in world.servings
        if s.status is ServingStatus.READY and s is world.serving_of(s.build_id)
    }
    if live.id not in ready:
        return None
    order += [build_id for build_id in ready if build_id not in order]
    arms = tuple(
        Arm(
            slot=ready[build_id].slot,
            ordinal=world.builds[build_id].ordinal,
            build_id=build_id,
            weight=weights.get(build_id, 0),
            baked=build_id == live.id and world.baked,
        )
        for build_id in order
        if build_id in ready
    )
    if divided_by and release is not None and (again := world.baseline_arm) is not None:
        arms = _with_baseline_arm(arms, release, again)
    if sum(arm.weight for arm in arms) != TOTAL_WEIGHT:  # an arm went away under the division
        arms = tuple(
            replace(arm, weight=TOTAL_WEIGHT if arm.build_id == live.id else 0) for arm in arms
        )
        divided_by, stage = "", 0
    return TrafficSplit(
        model=world.model.triton_name,
        arms=arms,
        salt=release.salt if release is not None else deployment.salt,
        release=divided_by,
        stage=stage,
    )


def _with_baseline_arm(arms: tuple[Arm, ...], release: Release, again: Serving) -> tuple[Arm, ...]:
    """Give the baseline's second slot as much as the candidate has, or all that there is.

    It comes last, so that a unit once in it stays while its weight grows, as in the candidate.
    """
    by_build = {arm.build_id: arm for arm in arms}
    candidate = by_build.get(release.candidate_build_id)
    baseline = by_build.get(release.baseline_build_id)
    if candidate is None or baseline is None:
        return arms
    weight = min(candidate.weight, baseline.weight)
    rest = replace(baseline, weight=baseline.weight - weight)
    found = tuple(rest if arm is baseline else arm for arm in arms)
    if again.status is not ServingStatus.READY:
        return found
    return (*found, replace(baseline, slot=again.slot, weight=weight))
