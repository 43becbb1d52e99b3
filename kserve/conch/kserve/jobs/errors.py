"""How a Job on a cluster can end other than well, each with a stable code."""

from __future__ import annotations

from conch.core import ConflictError

from ..errors import KServeError


class JobFailedError(KServeError):
    """A Job's program ended with an error."""

    code = "cluster-job-failed"


class JobMemoryError(JobFailedError):
    """A Job's program was ended, since it took more memory than it had asked for."""

    code = "cluster-job-out-of-memory"


class JobDeadlineError(JobFailedError):
    """A Job ran, and did not end in the time that it was given, waiting for a node included."""

    code = "cluster-job-deadline"


class JobNeverRanError(JobFailedError):
    """A Job's time passed while it waited, such as for a node with what it asks for."""

    code = "cluster-job-never-ran"


class JobUnstartableError(JobFailedError):
    """A Job's container cannot be started as it is stated, such as for want of its image."""

    code = "cluster-job-unstartable"


class JobLostError(JobFailedError):
    """A Job was deleted by somebody else before it ended."""

    code = "cluster-job-lost"


class JobChangedError(KServeError, ConflictError):
    """A Job of that name exists, and is for something else."""

    code = "cluster-job-changed"
