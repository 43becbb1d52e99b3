"""The relational schema. Column names follow the records of `records.py` one to one."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from .records import (
    BuildStatus,
    DeploymentStatus,
    ExperimentStatus,
    JobStatus,
    ReleaseStatus,
    ServingStatus,
    VersionStatus,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which knows no zones, gets it without one and back with it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone does not go into the database")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Choice(TypeDecorator[StrEnum]):
    """A `StrEnum` stored by value."""

    impl = String(32)
    cache_ok = True

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else self.choices(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.choices(value)


class Words(TypeDecorator[tuple[str, ...]]):
    """A tuple of strings stored as a JSON list."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> Any:
        return None if value is None else list(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(value)


def _id() -> Column[str]:
    return Column("id", String(36), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(36), ForeignKey(f"{target}.id"), nullable=nullable, index=True)


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Moment, nullable=nullable)


def _revision() -> Column[int]:
    return Column("revision", Integer, nullable=False)


models = Table(
    "models",
    metadata,
    _id(),
    Column("name", String(256), nullable=False, unique=True),
    Column("triton_name", String(64), nullable=False, unique=True),
    Column("next_ordinal", Integer, nullable=False),
    _json("tags"),
    _moment("created_at"),
    _revision(),
)

versions = Table(
    "versions",
    metadata,
    _id(),
    _ref("model_id", "models"),
    Column("name", String(256), nullable=False),
    Column("version", Integer, nullable=False),
    Column("framework", String(64), nullable=False),
    Column("model_path", String(2048), nullable=False),
    Column("model_size", BigInteger),
    _json("accuracy_metrics"),
    _json("deployment_config"),
    _moment("created_at"),
    Column("created_by", String(256), nullable=False),
    Column("identity", String(512), nullable=False),
    _json("tags"),
    Column("aliases", Words, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("status", Choice(VersionStatus), nullable=False),
    _json("reason", nullable=True),
    Column("semantic_version", String(32)),
    _json("reported"),
    Column("pin", String(64), nullable=False, server_default=""),
    _revision(),
    UniqueConstraint("name", "version"),
)

builds = Table(
    "builds",
    metadata,
    _id(),
    _ref("model_id", "models"),
    _ref("version_id", "versions"),
    Column("job_id", String(36), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("identity", String(512), nullable=False),
    Column("status", Choice(BuildStatus), nullable=False),
    Column("path", String(2048), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("graph_digest", String(64), nullable=False),
    Column("semantic_version", String(32)),
    _json("manifest"),
    _json("reason", nullable=True),
    _moment("created_at"),
    _moment("finished_at", nullable=True),
    _revision(),
    UniqueConstraint("model_id", "ordinal"),
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    _ref("model_id", "models"),
    Column("deployment_name", String(256), nullable=False, unique=True),
    Column("environment", String(64), nullable=False),
    Column("replica_count", Integer, nullable=False),
    _json("resource_config"),
    Column("status", Choice(DeploymentStatus), nullable=False),
    Column("endpoint_url", String(2048), nullable=False),
    _ref("live_build_id", "builds", nullable=True),
    Column("salt", String(64), nullable=False),
    _moment("created_at"),
    _revision(),
    UniqueConstraint("model_id", "environment"),
)

servings = Table(
    "servings",
    metadata,
    _id(),
    _ref("deployment_id", "deployments"),
    _ref("build_id", "builds"),
    Column("slot", String(16), nullable=False),
    Column("status", Choice(ServingStatus), nullable=False),
    _json("reason", nullable=True),
    _moment("retire_at", nullable=True),
    _moment("created_at"),
    _revision(),
    UniqueConstraint("deployment_id", "slot"),
)

releases = Table(
    "releases",
    metadata,
    _id(),
    _ref("deployment_id", "deployments"),
    _ref("candidate_build_id", "builds"),
    _ref("baseline_build_id", "builds"),
    Column("status", Choice(ReleaseStatus), nullable=False),
    Column("weight", Integer, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("bake_s", Integer, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("note", String(2048), nullable=False),
    _json("reason", nullable=True),
    _json("plan", nullable=True),
    Column("plan_digest", String(64), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("approved", Words, nullable=False),
    _json("hold", nullable=True),
    Column("baseline_slot", String(16)),
    _moment("created_at"),
    _moment("finished_at", nullable=True),
    _revision(),
)

stages = Table(
    "stages",
    metadata,
    _id(),
    _ref("release_id", "releases"),
    Column("number", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("control_weight", Integer),
    _moment("created_at"),
    _moment("ended_at", nullable=True),
    _revision(),
    UniqueConstraint("release_id", "number"),
)

decisions = Table(
    "decisions",
    metadata,
    _id(),
    _ref("release_id", "releases"),
    Column("number", Integer, nullable=False),
    Column("status", Choice(ReleaseStatus), nullable=False),
    Column("action", String(32), nullable=False),
    Column("code", String(64), nullable=False),
    Column("message", String(4096), nullable=False),
    Column("weight", Integer, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("plan_digest", String(64), nullable=False),
    _json("record", nullable=True),
    _json("shadow", nullable=True),
    _moment("created_at"),
    _revision(),
    UniqueConstraint("release_id", "number"),
)

experiments = Table(
    "experiments",
    metadata,
    _id(),
    _ref("deployment_id", "deployments"),
    Column("name", String(256), nullable=False),
    Column("status", Choice(ExperimentStatus), nullable=False),
    _ref("control_build_id", "builds"),
    _json("shares"),
    Column("salt", String(64), nullable=False),
    _json("plan"),
    Column("plan_digest", String(64), nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("note", String(2048), nullable=False),
    _json("hold", nullable=True),
    _json("outcome", nullable=True),
    _moment("created_at"),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    _revision(),
)

findings = Table(
    "findings",
    metadata,
    _id(),
    _ref("experiment_id", "experiments"),
    Column("number", Integer, nullable=False),
    Column("action", String(32), nullable=False),
    Column("code", String(64), nullable=False),
    Column("message", String(4096), nullable=False),
    Column("actor", String(256), nullable=False),
    _json("records", nullable=True),
    _moment("created_at"),
    _revision(),
    UniqueConstraint("experiment_id", "number"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("kind", String(32), nullable=False),
    Column("subject", String(36), nullable=False),
    Column("label", String(512), nullable=False),
    Column("status", Choice(JobStatus), nullable=False, index=True),
    Column("owner", String(256), nullable=False),
    Column("lease_token", Integer, nullable=False),
    _moment("lease_until", nullable=True),
    _moment("heartbeat_at", nullable=True),
    Column("progress", Float, nullable=False),
    Column("message", String(2048), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    _json("outcome", nullable=True),
    _moment("created_at"),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    _revision(),
    Index("ix_jobs_kind_subject", "kind", "subject"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("holder", String(256), nullable=False),
    Column("token", Integer, nullable=False),
    _moment("until"),
    Column("url", String(2048), nullable=False),
    _moment("created_at"),
    _revision(),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("event", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("number", Integer, nullable=True),
    _moment("signed_at"),
    Column("created_at", Moment, nullable=False, index=True),
    _moment("followed_at", nullable=True),
    _revision(),
)
