"""The build job: fetch a registered version, convert it, prove it, keep the result."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from conch.core import (
    ConchError,
    Ordinal,
    Pin,
    SemanticVersion,
    ServingSpec,
    Signature,
    TritonName,
    next_version,
)
from conch.model_repo_builder import (
    BuildRequest,
    Limits,
    Manifest,
    PickledModelError,
    RuntimeCaps,
    WorkerCrashedError,
    check_digest,
    disk_full,
    read_manifest,
)

from ..jobs import CancelledError, JobContext, LeaseLostError
from ..ports import Workshop
from ..reference_data import ReferenceData, reference_for
from ..registry import FetchedModel, Registry, spec_from_tags
from ..state import (
    Build,
    BuildStatus,
    Database,
    Job,
    Json,
    Model,
    Transaction,
    Version,
    VersionStatus,
    new_id,
)
from ..trusting import TrustRule, advice, said, trusted_by

log = logging.getLogger(__name__)

_FETCHED: Final = 0.2


class ReplacedError(ConchError):
    """Another version has the number that was to be built."""

    code = "version-replaced"


class RefusedError(ConchError):
    """A version was refused; shown as the reason itself."""

    code = "version-refused"

    def __init__(self, reason: Json) -> None:
        super().__init__(reason["message"], hint=reason["hint"])
        self._reason = reason

    def as_dict(self) -> dict[str, Any]:
        return dict(self._reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """Handles jobs of the kind `build`; the subject is a version's id.

    Attributes:
        builds: The folder that published builds go to, as `<model>/<ordinal>`.
        limits: What one build may take.
        caps: What the serving runtime reads.
        refuse_weak_evidence: Whether a report that proves little refuses the version.
        trust: Whose models may run code of their own.
        references: Data sets that versions are verified with.
    """

    database: Database
    registry: Registry
    workshop: Workshop
    builds: Path
    limits: Limits
    caps: RuntimeCaps
    refuse_weak_evidence: bool
    now: Callable[[], datetime]
    trust: tuple[TrustRule, ...] = ()
    references: tuple[ReferenceData, ...] = ()

    def __call__(self, context: JobContext) -> Json:
        model, version, build = context.commit(lambda tx: self._open(tx, context.job))
        if build.status is BuildStatus.BUILDING:
            build = self._finish(context, model, version, build)
        if build.reason is not None:
            raise RefusedError(build.reason)
        return {"build_id": build.id, "semantic_version": build.semantic_version}

    def _open(self, tx: Transaction, job: Job) -> tuple[Model, Version, Build]:
        """Return the job's build: its own from before a crash, one left behind, or a new one."""
        version = tx.versions.get(job.subject)
        model = tx.models.get(version.model_id)
        own = tx.builds.first(job_id=job.id)
        if own is not None:
            return model, version, own
        left = tx.builds.first(
            version_id=version.id, identity=version.identity, status=BuildStatus.BUILDING
        )
        if left is not None:
            return model, version, tx.builds.change(left, job_id=job.id)
        build = tx.builds.add(
            Build(
                id=new_id(),
                model_id=model.id,
                version_id=version.id,
                job_id=job.id,
                ordinal=model.next_ordinal,
                identity=version.identity,
                status=BuildStatus.BUILDING,
                created_at=self.now(),
            )
        )
        tx.models.change(model, next_ordinal=Ordinal(model.next_ordinal + 1))
        return model, version, build

    def _finish(self, context: JobContext, model: Model, version: Version, build: Build) -> Build:
        """Make the build and keep it, or write down why not; what may pass is raised."""
        output = self.builds / model.triton_name / str(build.ordinal)
        fetched: FetchedModel | None = None
        try:
            manifest = _published(output)
            if manifest is None:
                fetched, manifest = self._make_where_there_is_room(
                    context, model, version, build, output
                )
        except (CancelledError, LeaseLostError):
            raise
        except ConchError as error:
            if context.cancelled():
                raise CancelledError(f"Job {context.job.label!r} was cancelled.") from error
            if error.retryable:
                raise
            reason = _advised(error, version)
            return context.commit(lambda tx: self._refuse(tx, build, reason))
        return context.commit(lambda tx: self._keep(tx, build, manifest, fetched, output))

    def _make_where_there_is_room(
        self, context: JobContext, model: Model, version: Version, build: Build, output: Path
    ) -> tuple[FetchedModel, Manifest]:
        try:
            return self._make(context, model, version, build, output)
        except (OSError, ConchError) as error:
            if (full := disk_full(error)) is not None:
                raise full from error
            raise

    def _make(
        self, context: JobContext, model: Model, version: Version, build: Build, output: Path
    ) -> tuple[FetchedModel, Manifest]:
        spec = serving_spec(model, version)
        scratch = self.builds / ".fetched" / build.id
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        try:
            context.progress(0.01, "fetching the model from the registry")
            registered = self.registry.version(version.name, version.version)
            if registered.identity != version.identity:
                raise ReplacedError(
                    f"Version {version.version} of {version.name!r} was replaced in the registry.",
                    hint="The next sweep takes up the one that is there now.",
                )
            fetched = self.registry.fetch(registered, scratch)
            request = self._request(model, version, build, spec, fetched.path, output)
            try:
                manifest = self._build(context, request)
            except WorkerCrashedError as error:
                log.warning("%s Built once more, at once.", error)
                manifest = self._build(context, request)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return fetched, manifest

    def _build(self, context: JobContext, request: BuildRequest) -> Manifest:
        return self.workshop.build(
            request,
            progress=lambda part, text: context.progress(_FETCHED + 0.8 * part, text),
            cancelled=context.cancelled,
        )

    def _request(
        self,
        model: Model,
        version: Version,
        build: Build,
        spec: ServingSpec,
        source: Path,
        output: Path,
    ) -> BuildRequest:
        rule = trusted_by(self.trust, model=version.name, user=version.created_by)
        rows = reference_for(self.references, version.name)
        return BuildRequest(
            build_id=build.id,
            registered_name=version.name,
            model=TritonName(model.triton_name),
            ordinal=build.ordinal,
            source=source,
            output=output,
            spec=spec,
            limits=self.limits,
            caps=self.caps,
            refuse_weak_evidence=self.refuse_weak_evidence,
            trust_pickles=rule is not None,
            trusted_because="" if rule is None else said(rule, user=version.created_by),
            reference=None if rows is None else rows.path,
            task=None if rows is None else rows.task,
        )

    def _keep(
        self,
        tx: Transaction,
        build: Build,
        manifest: Manifest,
        fetched: FetchedModel | None,
        output: Path,
    ) -> Build:
        version = tx.versions.get(build.version_id)
        semantic = str(_semantic_version(tx.builds.find(model_id=build.model_id), manifest))
        kept = tx.builds.change(
            tx.builds.get(build.id),
            status=BuildStatus.VERIFIED,
            path=str(output),
            digest=manifest.digest,
            graph_digest=manifest.graph_digest,
            semantic_version=semantic,
            manifest=manifest.as_dict(),
            finished_at=self.now(),
        )
        if version.identity == build.identity:
            facts = {} if fetched is None else _facts(fetched)
            spec = serving_spec(tx.models.get(version.model_id), version)
            tx.versions.change(
                version,
                status=VersionStatus.VERIFIED,
                reason=None,
                semantic_version=semantic,
                deployment_config=spec.as_dict(),
                **facts,
            )
        return kept

    def _refuse(self, tx: Transaction, build: Build, reason: Json) -> Build:
        return tx.builds.change(
            tx.builds.get(build.id),
            status=BuildStatus.REFUSED,
            reason=reason,
            finished_at=self.now(),
        )


def _advised(error: ConchError, version: Version) -> Json:
    """Return a refusal; one for code that may not run says what would let it."""
    reason = error.as_dict()
    if error.code != PickledModelError.code:
        return reason
    more = advice(model=version.name, user=version.created_by)
    return {**reason, "hint": f"{reason['hint']} {more}"}


def serving_spec(model: Model, version: Version) -> ServingSpec:
    """Return how a version wants to be served: by its tags, its model's, and a person's pin.

    Raises:
        ServingTagError: A tag is no option.
    """
    spec = spec_from_tags({**model.tags, **version.tags})
    if not version.pin:
        return spec
    pin = Pin.parse(version.pin)
    return replace(spec, format=pin.format, precision=pin.precision)


def _facts(fetched: FetchedModel) -> dict[str, object]:
    return {
        "framework": fetched.framework,
        "model_size": fetched.size_bytes,
        "accuracy_metrics": dict(fetched.metrics),
    }


def _published(output: Path) -> Manifest | None:
    """Return the manifest of a build that was published before a crash, if it is whole."""
    if not (output / "manifest.json").is_file():
        return None
    check_digest(output)
    return read_manifest(output)


def _semantic_version(builds: list[Build], manifest: Manifest) -> SemanticVersion:
    """Derive the version from the highest one that the model has had."""
    versioned = [
        (SemanticVersion.parse(build.semantic_version), build)
        for build in builds
        if build.semantic_version is not None
    ]
    if not versioned:
        return next_version(None, before=None, after=manifest.signature, same_graph=False)
    highest, build = max(versioned, key=lambda pair: pair[0])
    return next_version(
        highest,
        before=Signature.from_dict(build.manifest["signature"]),
        after=manifest.signature,
        same_graph=build.graph_digest == manifest.graph_digest,
    )
