"""Control state: records, the schema, and transactions over SQLite or PostgreSQL."""

from .database import Database, DatabaseUnavailableError
from .records import (
    Build,
    BuildStatus,
    Deployment,
    DeploymentStatus,
    Job,
    JobStatus,
    Json,
    Lease,
    Model,
    ReceivedDelivery,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Version,
    VersionStatus,
)
from .transactions import Transaction, as_dict, new_id

__all__ = [
    "Build",
    "BuildStatus",
    "Database",
    "DatabaseUnavailableError",
    "Deployment",
    "DeploymentStatus",
    "Job",
    "JobStatus",
    "Json",
    "Lease",
    "Model",
    "ReceivedDelivery",
    "Release",
    "ReleaseStatus",
    "Serving",
    "ServingStatus",
    "Transaction",
    "Version",
    "VersionStatus",
    "as_dict",
    "new_id",
]
