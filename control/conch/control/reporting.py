"""Telling MLflow: conch's state of every version, as tags that people see in its UI."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from conch.core import TOTAL_WEIGHT, ConflictError, NotFoundError

from .registry import Registry
from .state import (
    Build,
    BuildStatus,
    Database,
    Deployment,
    Json,
    Release,
    ReleaseStatus,
    ServingStatus,
    Transaction,
    Version,
    VersionStatus,
)

log = logging.getLogger(__name__)

STATUS: Final = "conch.status"
VERSION: Final = "conch.version"
ENDPOINT: Final = "conch.endpoint"
BUILD: Final = "conch.build"
REASON: Final = "conch.reason"


class Reporter:
    """Writes the tags that differ from those written last.

    Args:
        guard: Raises within a transaction where this process may not act.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        guard: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._guard = guard

    def run(self) -> int:
        """Bring the tags up to date; return how many versions were written.

        Raises:
            RegistryUnavailableError: MLflow is away; the next run goes on from there.
        """
        with self._database.begin() as tx:
            self._guard(tx)
            due = [(version, tags) for version, tags in _wanted(tx) if tags != version.reported]
        for version, tags in due:
            self._write(version, tags)
        return len(due)

    def _write(self, version: Version, tags: Mapping[str, str]) -> None:
        gone = tuple(sorted(set(version.reported) - set(tags)))
        try:
            self._registry.write_tags(version.name, version.version, tags)
            if gone:
                self._registry.delete_tags(version.name, version.version, gone)
        except NotFoundError as error:  # deleted since the last sweep, which will say so
            log.info("report: %s", error)
            return
        with self._database.begin() as tx:
            try:
                tx.versions.change(version, reported=dict(tags))
            except ConflictError:  # moved on meanwhile: the next run writes what is true then
                log.debug("report: %s version %d moved on", version.name, version.version)


def _wanted(tx: Transaction) -> list[tuple[Version, dict[str, str]]]:
    deployments = {deployment.model_id: deployment for deployment in tx.deployments.find()}
    # Oldest first: of a version's builds the newest stays.
    builds = {build.version_id: build for build in tx.builds.find()}
    open_releases: dict[str, Release] = {
        release.deployment_id: release
        for release in tx.releases.find(status=[s for s in ReleaseStatus if s.open])
    }
    ended: dict[str, Release] = {
        release.candidate_build_id: release
        for release in tx.releases.newest("candidate_build_id")
        if release.status is ReleaseStatus.ROLLED_BACK
    }
    # The oldest: a build is in a second slot only to be compared with.
    servings = {serving.build_id: serving for serving in reversed(tx.servings.find())}
    found = []
    for version in tx.versions.find(present=True):
        deployment = deployments.get(version.model_id)
        build = builds.get(version.id)
        release = open_releases.get(deployment.id) if deployment else None
        serving = servings.get(build.id) if build else None
        if version.wanted:
            back = ended.get(build.id) if build else None
            tags = tags_of(version, build=build, deployment=deployment, release=release, ended=back)
            if serving is not None and serving.status is ServingStatus.FAILED and serving.reason:
                tags |= {STATUS: "failed", REASON: _sentence(serving.reason)}
            found.append((version, tags))
    return found


def tags_of(
    version: Version,
    *,
    build: Build | None,
    deployment: Deployment | None,
    release: Release | None,
    ended: Release | None = None,
) -> dict[str, str]:
    """Return the tags that say how a version stands.

    Args:
        build: The version's newest build, if any.
        deployment: Where its model is served, if it is.
        release: The model's open release, if any.
        ended: The build's own last release, where that was rolled back.
    """
    tags = {STATUS: version.status.value}
    if build is not None and build.status is BuildStatus.QUARANTINED:
        return tags | {STATUS: "quarantined", REASON: _sentence(build.reason or {})}
    if version.status is VersionStatus.REFUSED:
        return tags | {REASON: _sentence(version.reason or {})}
    if version.semantic_version is not None:
        tags[VERSION] = version.semantic_version
    if build is None or deployment is None:
        return tags
    tags[BUILD] = build.id
    if deployment.live_build_id == build.id:
        tags |= {STATUS: "live", ENDPOINT: deployment.endpoint_url}
    elif release is not None and release.candidate_build_id == build.id:
        share = f"{100 * release.weight / TOTAL_WEIGHT:g} %"
        tags |= {STATUS: f"candidate at {share}", ENDPOINT: deployment.endpoint_url}
        if release.hold is not None:
            tags |= {STATUS: f"candidate at {share}, held", REASON: _sentence(release.hold)}
    elif ended is not None:
        tags |= {STATUS: "rolled back", REASON: _sentence(ended.reason or {})}
    return tags


def _sentence(reason: Json) -> str:
    return f"{reason.get('code', '')}: {reason.get('message', '')} {reason.get('hint', '')}".strip()
