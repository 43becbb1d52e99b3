"""What conch remembers, as frozen values; one class per table.

A record never changes: `Transaction` hands out new ones. `revision` counts the changes of a row and
guards every update, so that nobody overwrites what somebody else wrote in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from conch.core import ModelName, Ordinal, SlotName, TritonName

Json = Mapping[str, Any]


class VersionStatus(StrEnum):
    """How far a registered version has come."""

    REGISTERED = "registered"
    BUILDING = "building"
    VERIFIED = "verified"
    REFUSED = "refused"


class BuildStatus(StrEnum):
    """How a build stands."""

    BUILDING = "building"
    VERIFIED = "verified"
    REFUSED = "refused"
    QUARANTINED = "quarantined"


class ServingStatus(StrEnum):
    """How a build in a slot stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    RETIRING = "retiring"


class DeploymentStatus(StrEnum):
    """How a served model stands as a whole."""

    PENDING = "pending"
    SERVING = "serving"
    RELEASING = "releasing"
    ORPHANED = "orphaned"
    FAILED = "failed"


class ReleaseStatus(StrEnum):
    """Where the release of one version is."""

    PREPARING = "preparing"
    SHADOWING = "shadowing"
    RUNNING = "running"
    BAKING = "baking"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"

    @property
    def open(self) -> bool:
        """Whether the release still holds its model."""
        return self not in (
            ReleaseStatus.PROMOTED,
            ReleaseStatus.ROLLED_BACK,
            ReleaseStatus.FAILED,
        )


class ExperimentStatus(StrEnum):
    """Where an experiment is."""

    PREPARING = "preparing"
    RUNNING = "running"
    ENDED = "ended"

    @property
    def open(self) -> bool:
        """Whether the experiment still holds its model."""
        return self is not ExperimentStatus.ENDED


class JobStatus(StrEnum):
    """Where a piece of long work is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A registered model.

    Attributes:
        name: Its name in the registry.
        triton_name: Its name on the wire.
        next_ordinal: The Triton version that the next build will get; only ever grows.
        tags: The registered model's own tags, as last seen.
    """

    id: str
    name: ModelName
    triton_name: TritonName
    next_ordinal: Ordinal
    tags: Json
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version: a projection of the registry, and how far conch has come with it.

    Attributes:
        version: The registry's integer.
        framework: The flavour that conch builds from; empty until it was fetched.
        model_path: Where the registry says the artefact is.
        model_size: Bytes of the artefact; None until it was fetched.
        accuracy_metrics: Metrics of the run that made it.
        deployment_config: Serving options taken from its tags.
        identity: What tells this version from another that was later registered under the same
            number (see `conch.control.registry`).
        present: Whether the last complete sweep saw it.
        wanted: Whether policy took it up.
        reason: Why it was refused, as `ConchError.as_dict()`.
        reported: The tags that conch last wrote back.
        pin: The form that a person asked for, `FORMAT[:PRECISION]`; empty: as its tags say.
    """

    id: str
    model_id: str
    name: ModelName
    version: int
    framework: str = ""
    model_path: str = ""
    model_size: int | None = None
    accuracy_metrics: Json = field(default_factory=dict)
    deployment_config: Json = field(default_factory=dict)
    created_at: datetime
    created_by: str = ""
    identity: str
    tags: Json = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    present: bool = True
    wanted: bool = False
    status: VersionStatus = VersionStatus.REGISTERED
    reason: Json | None = None
    semantic_version: str | None = None
    reported: Json = field(default_factory=dict)
    pin: str = ""
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One conversion of one version.

    Attributes:
        ordinal: Triton's version directory; unique within the model, never reused.
        identity: The identity of the version that it was built from.
        job_id: The job that makes it; a job that is taken up again goes on with its build.
        path: The published folder; empty until it was published.
        manifest: The folder's `manifest.json`.
    """

    id: str
    model_id: str
    version_id: str
    job_id: str
    ordinal: Ordinal
    identity: str
    status: BuildStatus
    path: str = ""
    digest: str = ""
    graph_digest: str = ""
    semantic_version: str | None = None
    manifest: Json = field(default_factory=dict)
    reason: Json | None = None
    created_at: datetime
    finished_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model as it is served in one environment.

    Attributes:
        live_build_id: The build that answers callers who name no version; None before the first.
        salt: The salt of the latest traffic split.
        replica_count: Model servers in the slot of the live build.
    """

    id: str
    model_id: str
    deployment_name: str
    environment: str
    replica_count: int
    resource_config: Json
    status: DeploymentStatus
    endpoint_url: str
    live_build_id: str | None = None
    salt: str = ""
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A build in a slot of a deployment.

    Attributes:
        retire_at: When a build that is no longer live may be unloaded; None while it is needed.
    """

    id: str
    deployment_id: str
    build_id: str
    slot: SlotName
    status: ServingStatus
    reason: Json | None = None
    retire_at: datetime | None = None
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The way of one build to all traffic, or back.

    Attributes:
        baseline_build_id: The live build when the release began.
        weight: The candidate's share in basis points.
        bake_s: How long the build that lost stays loaded, in seconds.
        note: The word of the person who started it.
        reason: Why it ended, as a sentence or an error.
        plan: How it decides by itself (`conch.control.plans.Plan.as_dict`); None: by hand.
        plan_digest: SHA-256 of the plan; empty by hand.
        stage: The number of the period of constant weights that is in force, from 0.
        paused: Whether a person stopped it from going on by itself.
        approved: The gates that a person opened.
        hold: Why it does not go on by itself, with `code`, `message` and `since`; None: it does.
        baseline_slot: Where the live build is served once more, with as much traffic as the
            candidate, to be compared with it; None: the candidate is compared with all others.
    """

    id: str
    deployment_id: str
    candidate_build_id: str
    baseline_build_id: str
    status: ReleaseStatus
    weight: int
    salt: str
    bake_s: int
    created_by: str
    note: str = ""
    reason: Json | None = None
    plan: Json | None = None
    plan_digest: str = ""
    stage: int = 0
    paused: bool = False
    approved: tuple[str, ...] = ()
    hold: Json | None = None
    baseline_slot: SlotName | None = None
    created_at: datetime
    finished_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A period of a release in which the weights did not change.

    Attributes:
        number: Counts from 0 within the release.
        step: Index of the plan's step; 0 by hand.
        weight: The candidate's share in basis points.
        control_weight: The share of the arm that it is compared with; None: everything else.
        created_at: When it began.
    """

    id: str
    release_id: str
    number: int
    step: int
    weight: int
    control_weight: int | None = None
    created_at: datetime
    ended_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """One look at a release, or one word of a person, and what followed.

    Attributes:
        number: Counts from 0 within the release.
        status: The release's status when it was taken.
        action: What followed, such as `advance`.
        code: Why, for machines.
        message: Why, in sentences.
        weight: The candidate's share afterwards, in basis points.
        actor: Who decided; empty: the engine.
        plan_digest: The plan's digest; empty by hand.
        record: What it was decided on (`conch.ab.DecisionRecord` as JSON); None where a person
            decided, or nothing had been observed.
        shadow: How the answers to copies of requests compared; None without shadow traffic.
    """

    id: str
    release_id: str
    number: int
    status: ReleaseStatus
    action: str
    code: str
    message: str
    weight: int
    actor: str = ""
    plan_digest: str = ""
    record: Json | None = None
    shadow: Json | None = None
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A comparison of builds of one model on live traffic, which releases none of them.

    Attributes:
        name: What people call it.
        control_build_id: The live build when it began.
        shares: Of every arm, the control's too: its share of the traffic in basis points, by build.
        plan: How it is decided (`conch.control.plans.Plan.as_dict`); its steps mean nothing.
        hold: Why nothing can be concluded now, with `code`, `message` and `since`; None: it can.
        outcome: Why it ended, with `code` and `message`; None while it is open.
        started_at: When its traffic was divided; None before.
    """

    id: str
    deployment_id: str
    name: str
    status: ExperimentStatus
    control_build_id: str
    shares: Json
    salt: str
    plan: Json
    plan_digest: str
    created_by: str
    note: str = ""
    hold: Json | None = None
    outcome: Json | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: int = 1

    @property
    def treatments(self) -> tuple[str, ...]:
        """The builds that are compared with the control, in a fixed order."""
        return tuple(sorted(one for one in self.shares if one != self.control_build_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One look at an experiment, or one word of a person, and what followed.

    Attributes:
        number: Counts from 0 within the experiment.
        action: What followed: `start`, `begin`, `stay`, `hold` or `end`.
        code: Why, for machines.
        message: Why, in sentences.
        actor: Who decided; empty: the engine.
        records: By treatment, what its comparison was decided on (`conch.ab.DecisionRecord` as
            JSON); None where nothing had been observed.
    """

    id: str
    experiment_id: str
    number: int
    action: str
    code: str
    message: str
    actor: str = ""
    records: Json | None = None
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A durable piece of long work.

    Attributes:
        kind: What is to be done, such as `build`.
        subject: The id of the record that it works on; one open job per kind and subject.
        owner: Who holds the lease; empty while queued.
        lease_token: Grows with every claim; an effect of an older token is refused.
        progress: 0 to 1.
    """

    id: str
    kind: str
    subject: str
    label: str
    status: JobStatus
    owner: str = ""
    lease_token: int = 0
    lease_until: datetime | None = None
    heartbeat_at: datetime | None = None
    progress: float = 0.0
    message: str = ""
    attempts: int = 0
    cancel_requested: bool = False
    outcome: Json | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may act for all, until when.

    Attributes:
        id: What the lease is for, such as `leader`.
        holder: The process, as `conch.control.jobs.this_process` names it.
        token: Grows with every change of holder.
        url: Where the holder's API answers.
    """

    id: str
    holder: str
    token: int
    until: datetime
    url: str = ""
    created_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedDelivery:
    """A webhook delivery that was acknowledged.

    Attributes:
        id: The sender's delivery id, the same for every retry.
        event: What it is about, such as `model_version.created`.
        name: The registered model that it points at.
        number: The version that it points at; None for the model as a whole.
        signed_at: When the sender first sent it.
        created_at: When it was received.
        followed_at: When a look at the registry that began later was written down; None before.
    """

    id: str
    event: str
    name: str
    number: int | None
    signed_at: datetime
    created_at: datetime
    followed_at: datetime | None = None
    revision: int = 1
