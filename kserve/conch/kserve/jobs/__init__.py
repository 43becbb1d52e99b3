"""Work that runs once on a cluster, such as a build with a GPU: Kubernetes Jobs that conch owns."""

from .errors import (
    JobChangedError,
    JobDeadlineError,
    JobFailedError,
    JobLostError,
    JobMemoryError,
    JobNeverRanError,
    JobUnstartableError,
)
from .manifests import job_manifest
from .reading import JobState, JobStatus, read_job
from .running import JobCancelledError, run_job
from .values import ClusterJob, Owner, Volume

__all__ = [
    "ClusterJob",
    "JobCancelledError",
    "JobChangedError",
    "JobDeadlineError",
    "JobFailedError",
    "JobLostError",
    "JobMemoryError",
    "JobNeverRanError",
    "JobState",
    "JobStatus",
    "JobUnstartableError",
    "Owner",
    "Volume",
    "job_manifest",
    "read_job",
    "run_job",
]
