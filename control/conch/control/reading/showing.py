"""From records to views: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conch.core import ModelName, TrafficSplit

from ..state import (
    Build,
    BuildStatus,
    Deployment,
    Job,
    Json,
    Model,
    RecordedDecision,
    Release,
    Serving,
    Stage,
    Version,
)
from .views import (
    ArmView,
    BuildView,
    DecisionView,
    DeploymentView,
    JobView,
    ModelView,
    ReleaseView,
    StageView,
    VersionView,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A build and the version that it came from."""

    build: Build
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is around one model's versions.

    Attributes:
        builds: All of the model's, the oldest first.
        jobs: Those that have not ended.
    """

    builds: Sequence[Build]
    deployment: Deployment | None
    servings: Sequence[Serving]
    jobs: Sequence[Job]


def percent(basis_points: int) -> float:
    """Return basis points as percent.

    >>> percent(1250)
    12.5
    """
    return basis_points / 100


def model_view(
    model: Model,
    versions: Sequence[Version],
    deployment: Deployment | None,
    live: Mapping[str, Numbered],
) -> ModelView:
    """Show a model; `live` holds live builds by id."""
    current = live.get(deployment.live_build_id or "") if deployment is not None else None
    return ModelView(
        id=model.id,
        name=model.name,
        triton_name=model.triton_name,
        tags=model.tags,
        created_at=model.created_at,
        versions=len(versions),
        latest_version=max((one.version for one in versions), default=None),
        live_version=current.version.version if current else None,
        live_semantic_version=current.build.semantic_version if current else None,
        status=deployment.status.value if deployment else None,
        endpoint_url=deployment.endpoint_url if deployment else None,
    )


def version_view(version: Version, context: Context) -> VersionView:
    """Show a version by its live build, else by the one that is in a slot, else by the newest."""
    live_id = context.deployment.live_build_id if context.deployment else None
    # The oldest: a build is in a second slot only to be compared with.
    servings = {one.build_id: one for one in reversed(context.servings)}
    own = [
        one
        for one in context.builds
        if one.version_id == version.id and one.identity == version.identity
    ]
    build = max(
        own, key=lambda one: (one.id == live_id, one.id in servings, one.ordinal), default=None
    )
    serving = servings.get(build.id) if build else None
    verified = build is not None and build.status is BuildStatus.VERIFIED
    subjects = [version.id] + ([serving.id] if serving else [])
    return VersionView(
        id=version.id,
        name=version.name,
        version=version.version,
        semantic_version=version.semantic_version,
        ordinal=build.ordinal if build else None,
        framework=version.framework,
        model_path=version.model_path,
        model_size=version.model_size,
        accuracy_metrics=version.accuracy_metrics,
        deployment_config=version.deployment_config,
        created_at=version.created_at,
        created_by=version.created_by,
        tags=version.tags,
        aliases=version.aliases,
        status=version.status.value,
        reason=version.reason or (serving.reason if serving else None),
        live=build is not None and build.id == live_id,
        slot=serving.slot if serving else None,
        serving=serving.status.value if serving else None,
        present=version.present,
        taken_up=version.wanted,
        build_id=build.id if build else None,
        signature=build.manifest.get("signature") if build and verified else None,
        job=next((job_view(one) for one in context.jobs if one.subject in subjects), None),
    )


def build_view(build: Build, version: Version, *, report: Json | None) -> BuildView:
    """Show a build."""
    return BuildView(
        id=build.id,
        model_name=version.name,
        version=version.version,
        ordinal=build.ordinal,
        status=build.status.value,
        semantic_version=build.semantic_version,
        path=build.path,
        digest=build.digest,
        graph_digest=build.graph_digest,
        manifest=build.manifest,
        reason=build.reason,
        created_at=build.created_at,
        finished_at=build.finished_at,
        report=report,
    )


def deployment_view(
    deployment: Deployment,
    name: ModelName,
    known: Mapping[str, Numbered],
    split: TrafficSplit | None,
) -> DeploymentView:
    """Show a deployment; `known` holds the builds of its arms and its live one by id."""
    live = known.get(deployment.live_build_id or "")
    arms = [] if split is None else [arm for arm in split.arms if arm.build_id in known]
    return DeploymentView(
        id=deployment.id,
        model_id=deployment.model_id,
        model_name=name,
        deployment_name=deployment.deployment_name,
        environment=deployment.environment,
        replica_count=deployment.replica_count,
        resource_config=deployment.resource_config,
        status=deployment.status.value,
        endpoint_url=deployment.endpoint_url,
        live_version=live.version.version if live else None,
        live_semantic_version=live.build.semantic_version if live else None,
        arms=[
            ArmView(
                slot=arm.slot,
                version=known[arm.build_id].version.version,
                ordinal=arm.ordinal,
                build_id=arm.build_id,
                weight=percent(arm.weight),
                baked=arm.baked,
            )
            for arm in arms
        ],
        created_at=deployment.created_at,
    )


def release_view(
    release: Release,
    *,
    candidate: Numbered,
    baseline: Numbered,
    stages: Sequence[Stage],
    job: Job | None,
) -> ReleaseView:
    """Show a release with the loading of its candidate, if that is under way."""
    return ReleaseView(
        id=release.id,
        model_name=candidate.version.name,
        deployment_id=release.deployment_id,
        candidate_version=candidate.version.version,
        candidate_build_id=candidate.build.id,
        baseline_version=baseline.version.version,
        baseline_build_id=baseline.build.id,
        status=release.status.value,
        weight=percent(release.weight),
        bake_s=release.bake_s,
        created_by=release.created_by,
        note=release.note,
        reason=release.reason,
        plan=None if release.plan is None else str(release.plan["name"]),
        plan_body=release.plan,
        plan_digest=release.plan_digest,
        paused=release.paused,
        hold=release.hold,
        stages=[stage_view(stage) for stage in sorted(stages, key=lambda one: one.number)],
        created_at=release.created_at,
        finished_at=release.finished_at,
        job=None if job is None else job_view(job),
    )


def stage_view(stage: Stage) -> StageView:
    """Show a period of constant weights."""
    return StageView(
        number=stage.number,
        step=stage.step,
        weight=percent(stage.weight),
        control_weight=None if stage.control_weight is None else percent(stage.control_weight),
        started_at=stage.created_at,
        ended_at=stage.ended_at,
    )


def decision_view(decision: RecordedDecision, *, whole: bool) -> DecisionView:
    """Show a decision, with what it was taken from if `whole`."""
    return DecisionView(
        number=decision.number,
        at=decision.created_at,
        status=decision.status.value,
        action=decision.action,
        code=decision.code,
        message=decision.message,
        weight=percent(decision.weight),
        actor=decision.actor,
        plan_digest=decision.plan_digest,
        record=decision.record if whole else None,
        shadow=decision.shadow,
    )


def job_view(job: Job) -> JobView:
    """Show a job."""
    return JobView(
        id=job.id,
        kind=job.kind,
        subject=job.subject,
        label=job.label,
        status=job.status.value,
        progress=job.progress,
        message=job.message,
        attempts=job.attempts,
        cancel_requested=job.cancel_requested,
        outcome=job.outcome,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
