"""What people and programs are shown: frozen values without any database row in them.

The API serialises them as they are, so that a field is named in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

Json = Mapping[str, Any]


class View:
    """A value that can be shown."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; times are RFC 3339 in UTC."""
        plain = _plain(self)
        assert isinstance(plain, dict)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView(View):
    """A piece of long work.

    Attributes:
        kind: `build` or `load`.
        subject: The id of the record that it works on.
        progress: 0 to 1.
        message: What it does at the moment.
        attempts: How often it was begun.
        outcome: What came of it; where it failed, the problem with its `code`.
    """

    id: str
    kind: str
    subject: str
    label: str
    status: str
    progress: float
    message: str
    attempts: int
    cancel_requested: bool
    outcome: Json | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView(View):
    """A registered version, and how far conch has come with it.

    Attributes:
        version: The registry's integer.
        semantic_version: Derived from what changed; null before the version was verified.
        ordinal: The version number that Triton and callers of `/v2` see; null before a build.
        framework: The flavour that it was built from; empty until it was fetched.
        model_path: Where the registry says that the artefact is.
        model_size: Bytes of the artefact; null until it was fetched.
        accuracy_metrics: Metrics of the run that made it.
        deployment_config: Serving options from its `triton.*` tags.
        status: `registered`, `building`, `verified` or `refused`.
        reason: Why it was refused or could not be loaded, as a problem with its `code`.
        live: Whether callers who name no version get this one.
        slot: Where it is, or is to be, loaded; null where it is not.
        serving: `loading`, `ready`, `failed` or `retiring`; null where it is in no slot.
        present: Whether the registry still shows it.
        taken_up: Whether policy took it up.
        build_id: The newest build of it.
        signature: What the build takes and returns; null before it was verified.
        job: The work that is under way for it.
    """

    id: str
    name: str
    version: int
    semantic_version: str | None
    ordinal: int | None
    framework: str
    model_path: str
    model_size: int | None
    accuracy_metrics: Json
    deployment_config: Json
    created_at: datetime
    created_by: str
    tags: Json
    aliases: Sequence[str]
    status: str
    reason: Json | None
    live: bool
    slot: str | None
    serving: str | None
    present: bool
    taken_up: bool
    build_id: str | None
    signature: Json | None
    job: JobView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmView(View):
    """A destination of a model's traffic.

    Attributes:
        version: The registry's integer.
        ordinal: The same version as Triton names it.
        weight: Share of the traffic in percent, two decimals.
        baked: Whether the version was live for its whole bake time; until then it is on trial.
    """

    slot: str
    version: int
    ordinal: int
    build_id: str
    weight: float
    baked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView(View):
    """A model as it is served in one environment.

    Attributes:
        status: `pending`, `serving`, `releasing`, `orphaned`, or `failed`: the live version cannot
            answer.
        replica_count: Model servers in the slot of the live version.
        endpoint_url: Where the model is called with the Open Inference Protocol.
        live_version: The version that answers callers who name none; null before the first.
        arms: How traffic is divided by the routes that are in force.
    """

    id: str
    model_id: str
    model_name: str
    deployment_name: str
    environment: str
    replica_count: int
    resource_config: Json
    status: str
    endpoint_url: str
    live_version: int | None
    live_semantic_version: str | None
    arms: Sequence[ArmView]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView(View):
    """A period of a release in which the weights did not change.

    Attributes:
        number: Counts from 0 within the release.
        step: Index of the plan's step; the bake time comes after the last one.
        weight: The candidate's share in percent.
        control_weight: The share of the arm that it is compared with; null: everybody else.
        ended_at: Null while it is in force.
    """

    number: int
    step: int
    weight: float
    control_weight: float | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView(View):
    """One look at a release, or one word of a person, and what followed.

    Attributes:
        number: Counts from 0 within the release.
        status: The release's status after it.
        action: `start`, `begin`, `stay`, `hold`, `advance`, `promote`, `finish`, `roll-back`, or
            what a person did: `pause`, `resume`, `approve`, `set-weight`.
        code: Why, for machines, such as `harm-proven`.
        message: Why, in sentences.
        weight: The candidate's share afterwards, in percent.
        actor: Who decided; empty: the engine.
        record: What it was decided on: plan, evidence, time and decision, as `conch.ab` writes
            them; null where a person decided, where nothing had been observed, and in listings
            that did not ask for it.
        shadow: How the answers to copies of requests compared; null without any.
    """

    number: int
    at: datetime
    status: str
    action: str
    code: str
    message: str
    weight: float
    actor: str
    plan_digest: str
    record: Json | None
    shadow: Json | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView(View):
    """The way of one version to all traffic, or back.

    Attributes:
        status: `preparing`, `shadowing`, `running`, `baking` (live, and still compared),
            `promoted`, `rolled-back` or `failed`.
        weight: The candidate's share of the traffic in percent, two decimals.
        bake_s: How long the version that lost stays loaded, in seconds.
        reason: Why it ended, as an object with `code` and `message`.
        plan: The name of its plan; null: it goes by hand.
        plan_body: The plan itself.
        plan_digest: SHA-256 of the plan; empty by hand.
        paused: Whether a person stopped it from going on by itself.
        hold: Why it does not go on by itself: `code`, `message`, `since`; null: it does.
        stages: Its periods of constant weights, in order.
        job: The loading of the candidate, while it is under way.
    """

    id: str
    model_name: str
    deployment_id: str
    candidate_version: int
    candidate_build_id: str
    baseline_version: int
    baseline_build_id: str
    status: str
    weight: float
    bake_s: int
    created_by: str
    note: str
    reason: Json | None
    plan: str | None
    plan_body: Json | None
    plan_digest: str
    paused: bool
    hold: Json | None
    stages: Sequence[StageView]
    created_at: datetime
    finished_at: datetime | None
    job: JobView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView(View):
    """A registered model.

    Attributes:
        triton_name: Its name on the wire.
        tags: The registered model's own tags.
        versions: How many versions conch knows.
        latest_version: The highest of them; null where there is none.
        live_version: The one that answers callers who name none; null where nothing serves.
        status: The deployment's status; null where the model is not deployed.
    """

    id: str
    name: str
    triton_name: str
    tags: Json
    created_at: datetime
    versions: int
    latest_version: int | None
    live_version: int | None
    live_semantic_version: str | None
    status: str | None
    endpoint_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildView(View):
    """One conversion of one version.

    Attributes:
        version: The registry's integer of the version that it was built from.
        ordinal: Triton's version directory.
        status: `building`, `verified`, `refused` or `quarantined`.
        path: The published folder; empty until it was published.
        digest: SHA-256 over the folder's files.
        manifest: The folder's `manifest.json`.
        reason: Why it was refused, as a problem with its `code`.
        report: The verification report (`report.json`); null in listings and where there is none.
    """

    id: str
    model_name: str
    version: int
    ordinal: int
    status: str
    semantic_version: str | None
    path: str
    digest: str
    graph_digest: str
    manifest: Json
    reason: Json | None
    created_at: datetime
    finished_at: datetime | None
    report: Json | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsView(View):
    """How much there is.

    Attributes:
        live: Models that answer.
        refused: Versions that were refused.
        open_releases: Releases that hold their model.
        open_jobs: Jobs that are queued or running.
    """

    models: int
    versions: int
    live: int
    refused: int
    open_releases: int
    open_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformView(View):
    """Everything at a glance.

    Attributes:
        swept_at: When the registry was last seen whole; null before the first time.
        target: Servers with what they hold, and the routes in force; null where it cannot be seen.
        problem: Why the target cannot be seen.
    """

    environment: str
    inference_url: str
    mlflow_url: str
    swept_at: datetime | None
    sweep_age_s: float | None
    counts: CountsView
    target: Json | None
    problem: Json | None


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
