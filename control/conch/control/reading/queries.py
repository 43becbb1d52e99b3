"""Read-only questions to the control database and the target, answered as views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from conch.core import ConchError, ModelName, NotFoundError, TargetState, TritonName

from ..ports import Target
from ..state import (
    Build,
    Database,
    Deployment,
    JobStatus,
    Model,
    ReleaseStatus,
    Transaction,
    Version,
    VersionStatus,
)
from . import showing
from .filters import MetricFilter, TagFilter
from .report_pages import must_have_report, page_of, report_of
from .views import (
    BuildView,
    CountsView,
    DecisionView,
    DeploymentView,
    JobView,
    ModelView,
    ReleaseView,
    VersionView,
)

MOST: Final = 1000
"""Rows that one listing returns at most."""


class Reading:
    """Answers what is; changes nothing.

    Args:
        database: The control database.
        target: Asked only for the routes that are in force.
    """

    def __init__(self, *, database: Database, target: Target) -> None:
        self._database = database
        self._target = target

    def models(
        self, *, tags: Sequence[TagFilter] = (), metrics: Sequence[MetricFilter] = ()
    ) -> list[ModelView]:
        """Return the models, by name.

        With filters, those of which one version that the registry shows passes every filter; a
        version's tags count as set on top of its model's.
        """
        with self._database.look() as tx:
            models: list[Model] = tx.models.find()
            versions = _by_model(tx.versions.find())
            deployments = {one.model_id: one for one in tx.deployments.find()}
            live = _live_builds(tx, list(deployments.values()))
        shown = []
        for model in sorted(models, key=lambda one: one.name):
            known = versions.get(model.id, [])
            if _passes(model, known, tags, metrics):
                shown.append(showing.model_view(model, known, deployments.get(model.id), live))
        return shown

    def model(self, name: str) -> ModelView:
        """Return one model.

        Raises:
            NotFoundError: conch has not seen it.
        """
        with self._database.look() as tx:
            model = find_model(tx, name)
            versions = tx.versions.find(model_id=model.id)
            deployment = tx.deployments.first(model_id=model.id)
            live = _live_builds(tx, [deployment] if deployment else [])
        return showing.model_view(model, versions, deployment, live)

    def versions(self, name: str) -> list[VersionView]:
        """Return a model's versions, the newest first.

        Raises:
            NotFoundError: conch has not seen the model.
        """
        with self._database.look() as tx:
            model = find_model(tx, name)
            found = tx.versions.find(model_id=model.id)
            context = _context(tx, model)
        found.sort(key=lambda one: one.version, reverse=True)
        return [showing.version_view(one, context) for one in found]

    def version(self, name: str, number: int) -> VersionView:
        """Return one version.

        Raises:
            NotFoundError: conch has not seen it.
        """
        with self._database.look() as tx:
            found = find_version(tx, name, number)
            return showing.version_view(found, _context(tx, tx.models.get(found.model_id)))

    def builds(self, *, model: str | None = None, limit: int = MOST) -> list[BuildView]:
        """Return builds without their reports, the newest first.

        Raises:
            NotFoundError: conch has not seen the model.
        """
        with self._database.look() as tx:
            where = {} if model is None else {"model_id": find_model(tx, model).id}
            found = tx.builds.find(newest_first=True, limit=limit, **where)
            versions = _named(tx, found)
        return [showing.build_view(one, versions[one.version_id], report=None) for one in found]

    def build(self, key: str) -> BuildView:
        """Return one build with its verification report.

        Raises:
            NotFoundError: There is no such build.
        """
        with self._database.look() as tx:
            found = tx.builds.get(key)
            version = tx.versions.get(found.version_id)
        return showing.build_view(found, version, report=report_of(found))

    def published(self, key: str) -> Build:
        """Return a build whose folder was published.

        Raises:
            NotFoundError: There is no such build, or nothing was published of it.
        """
        with self._database.look() as tx:
            found = tx.builds.get(key)
        if not found.path:
            raise NotFoundError(
                f"Build {found.id} has no files: it is {found.status.value}.",
                hint="A build has files once it is verified.",
            )
        return found

    def report(self, key: str) -> dict[str, Any]:
        """Return a build's verification report.

        Raises:
            NotFoundError: There is no such build, or it has no report.
        """
        with self._database.look() as tx:
            return must_have_report(tx.builds.get(key))

    def report_page(self, key: str) -> str:
        """Return a build's verification report as HTML.

        Raises:
            NotFoundError: There is no such build, or it has no report.
        """
        with self._database.look() as tx:
            found = tx.builds.get(key)
            version = tx.versions.get(found.version_id)
        return page_of(found, version)

    def deployments(self) -> list[DeploymentView]:
        """Return every deployment with the routes that are in force, by name."""
        state = self._look()
        with self._database.look() as tx:
            found = tx.deployments.find()
            shown = [_deployment(tx, one, state) for one in found]
        return sorted(shown, key=lambda one: one.deployment_name)

    def deployment(self, name: str) -> DeploymentView:
        """Return one deployment by its own name or by its model's.

        Raises:
            NotFoundError: There is none.
        """
        state = self._look()
        with self._database.look() as tx:
            found = tx.deployments.first(deployment_name=name)
            model = tx.models.first(name=name)
            if found is None and model is not None:
                found = tx.deployments.first(model_id=model.id)
            if found is None:
                raise NotFoundError(
                    f"There is no deployment {name!r}.",
                    hint="A model is deployed once its first version is verified.",
                )
            return _deployment(tx, found, state)

    def releases(self, *, model: str | None = None, limit: int = MOST) -> list[ReleaseView]:
        """Return releases, the newest first.

        Raises:
            NotFoundError: conch has not seen the model.
        """
        with self._database.look() as tx:
            where: dict[str, Any] = {}
            if model is not None:
                known = tx.deployments.find(model_id=find_model(tx, model).id)
                where["deployment_id"] = [one.id for one in known]
            found = tx.releases.find(newest_first=True, limit=limit, **where)
            return [_release(tx, one.id) for one in found]

    def release(self, key: str) -> ReleaseView:
        """Return one release.

        Raises:
            NotFoundError: There is no such release.
        """
        with self._database.look() as tx:
            return _release(tx, key)

    def decisions(self, key: str, *, whole: bool = False, limit: int = MOST) -> list[DecisionView]:
        """Return a release's decisions, the newest first.

        Raises:
            NotFoundError: There is no such release.
        """
        with self._database.look() as tx:
            tx.releases.get(key)
            found = tx.decisions.find(release_id=key)
        newest = sorted(found, key=lambda one: one.number, reverse=True)[:limit]
        return [showing.decision_view(one, whole=whole) for one in newest]

    def jobs(self, *, unfinished: bool = False, limit: int = MOST) -> list[JobView]:
        """Return jobs, the newest first; only those that have not ended, if asked."""
        where = {"status": list(_UNFINISHED)} if unfinished else {}
        with self._database.look() as tx:
            found = tx.jobs.find(newest_first=True, limit=limit, **where)
        return [showing.job_view(one) for one in found]

    def job(self, key: str) -> JobView:
        """Return one job.

        Raises:
            NotFoundError: There is no such job.
        """
        with self._database.look() as tx:
            return showing.job_view(tx.jobs.get(key))

    def counts(self) -> CountsView:
        """Return how much there is."""
        with self._database.look() as tx:
            deployments = tx.deployments.find()
            return CountsView(
                models=tx.models.count(),
                versions=tx.versions.count(),
                live=sum(one.live_build_id is not None for one in deployments),
                refused=len(tx.versions.find(status=VersionStatus.REFUSED)),
                open_releases=len(tx.releases.find(status=list(_OPEN))),
                open_jobs=len(tx.jobs.find(status=list(_UNFINISHED))),
            )

    def _look(self) -> TargetState | None:
        try:
            return self._target.observe()
        except ConchError:  # what is in the database is shown all the same
            return None


_UNFINISHED: Final = tuple(status for status in JobStatus if not status.ended)
_OPEN: Final = tuple(status for status in ReleaseStatus if status.open)


def find_model(tx: Transaction, name: str) -> Model:
    """Return a model by its registered name.

    Raises:
        NotFoundError: conch has not seen it.
    """
    found = tx.models.first(name=name)
    if found is None:
        raise NotFoundError(
            f"There is no model {name!r}.",
            hint="conch knows what the registry showed at its last look; `conch models list`.",
        )
    return found


def find_version(tx: Transaction, name: str, number: int) -> Version:
    """Return a version by its model's name and the registry's integer.

    Raises:
        NotFoundError: conch has not seen it.
    """
    model = find_model(tx, name)
    found = tx.versions.first(model_id=model.id, version=number)
    if found is None:
        raise NotFoundError(
            f"{name!r} has no version {number}.", hint=f"See `conch models versions {name!r}`."
        )
    return found


def _by_model(versions: list[Version]) -> dict[str, list[Version]]:
    grouped: dict[str, list[Version]] = {}
    for version in versions:
        grouped.setdefault(version.model_id, []).append(version)
    return grouped


def _passes(
    model: Model,
    versions: list[Version],
    tags: Sequence[TagFilter],
    metrics: Sequence[MetricFilter],
) -> bool:
    if not tags and not metrics:
        return True
    return any(
        all(one.keeps({**model.tags, **version.tags}) for one in tags)
        and all(one.keeps(version.accuracy_metrics) for one in metrics)
        for version in versions
        if version.present
    )


def _live_builds(tx: Transaction, deployments: list[Deployment]) -> dict[str, showing.Numbered]:
    keys = [one.live_build_id for one in deployments if one.live_build_id is not None]
    builds = tx.builds.find(id=keys)
    versions = _named(tx, builds)
    return {one.id: showing.Numbered(build=one, version=versions[one.version_id]) for one in builds}


def _named(tx: Transaction, builds: list[Build]) -> dict[str, Version]:
    wanted = sorted({one.version_id for one in builds})
    return {one.id: one for one in tx.versions.find(id=wanted)}


def _context(tx: Transaction, model: Model) -> showing.Context:
    deployment = tx.deployments.first(model_id=model.id)
    return showing.Context(
        builds=tuple(tx.builds.find(model_id=model.id)),
        deployment=deployment,
        servings=tuple(tx.servings.find(deployment_id=deployment.id)) if deployment else (),
        jobs=tuple(tx.jobs.find(status=list(_UNFINISHED))),
    )


def _deployment(
    tx: Transaction, deployment: Deployment, state: TargetState | None
) -> DeploymentView:
    model = tx.models.get(deployment.model_id)
    split = state.routes.get(TritonName(model.triton_name)) if state is not None else None
    wanted = [arm.build_id for arm in split.arms] if split is not None else []
    if deployment.live_build_id is not None:
        wanted.append(deployment.live_build_id)
    builds = tx.builds.find(id=wanted)
    versions = _named(tx, builds)
    known = {
        one.id: showing.Numbered(build=one, version=versions[one.version_id]) for one in builds
    }
    return showing.deployment_view(deployment, ModelName(model.name), known, split)


def _release(tx: Transaction, key: str) -> ReleaseView:
    release = tx.releases.get(key)
    candidate = tx.builds.get(release.candidate_build_id)
    baseline = tx.builds.get(release.baseline_build_id)
    serving = tx.servings.first(deployment_id=release.deployment_id, build_id=candidate.id)
    loading = None
    if serving is not None:
        loading = tx.jobs.first(subject=serving.id, status=list(_UNFINISHED))
    return showing.release_view(
        release,
        candidate=showing.Numbered(build=candidate, version=tx.versions.get(candidate.version_id)),
        baseline=showing.Numbered(build=baseline, version=tx.versions.get(baseline.version_id)),
        stages=tx.stages.find(release_id=release.id),
        job=loading,
    )
