"""How far a Job is, read from it and its pod: a pure function.

Fields and reasons: Kubernetes API `batch/v1` JobStatus (conditions Complete, Failed; reasons
BackoffLimitExceeded, DeadlineExceeded) and `v1` PodStatus (container states; waiting reasons of the
kubelet; the scheduler's condition PodScheduled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ..cluster.resources import Object
from .errors import (
    JobDeadlineError,
    JobFailedError,
    JobMemoryError,
    JobUnstartableError,
)

_UNSTARTABLE: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""`ErrImagePull` is not among them: the kubelet tries again, and `ImagePullBackOff` follows."""


class JobState(StrEnum):
    """How far a Job is, in one word."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How far a Job is.

    Attributes:
        state: In one word.
        pod: Its pod; empty before there is one.
        logs: Whether that pod's container has run, so that it has a log.
        words: What it waits for, or why it failed.
        failure: The kind of error that its failure is; None unless it failed.
    """

    state: JobState
    pod: str = ""
    logs: bool = False
    words: str = ""
    failure: type[JobFailedError] | None = None


def read_job(job: Object, pods: Sequence[Object]) -> JobStatus:
    """Return how far a Job is.

    Args:
        job: The Job.
        pods: Pods with its label; those of a former Job of the same name may be among them.
    """
    pod = next((each for each in pods if _is_of(job, each)), None)
    name = "" if pod is None else str(pod["metadata"]["name"])
    container = _container_state(pod)
    logs = "running" in container or "terminated" in container
    conditions = {
        each["type"]: each
        for each in job.get("status", {}).get("conditions") or ()
        if each["status"] == "True"
    }
    if "Complete" in conditions:
        return JobStatus(state=JobState.SUCCEEDED, pod=name, logs=logs)
    if "Failed" in conditions:
        kind, words = _failure(conditions["Failed"], pod, container)
        return JobStatus(state=JobState.FAILED, pod=name, logs=logs, words=words, failure=kind)
    waiting = container.get("waiting", {})
    if waiting.get("reason") in _UNSTARTABLE:
        return JobStatus(
            state=JobState.FAILED,
            pod=name,
            words=f"{waiting['reason']}: {waiting.get('message', 'no further word')}",
            failure=JobUnstartableError,
        )
    if "running" in container:
        return JobStatus(state=JobState.RUNNING, pod=name, logs=True)
    return JobStatus(state=JobState.WAITING, pod=name, logs=logs, words=_waits_for(pod, waiting))


def _is_of(job: Object, pod: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == job["metadata"]["uid"] for owner in owners)


def _failure(
    condition: Object, pod: Object | None, container: Object
) -> tuple[type[JobFailedError], str]:
    if condition.get("reason") == "DeadlineExceeded":
        return JobDeadlineError, str(condition.get("message") or "it took too long")
    ended = container.get("terminated", {})
    if ended.get("reason") == "OOMKilled":
        return JobMemoryError, "its container was ended for the memory that it took (OOMKilled)"
    if ended:
        words = f"its program ended with exit code {ended.get('exitCode')}"
        return JobFailedError, " ".join(filter(None, (words, ended.get("message", ""))))
    why = {} if pod is None else pod.get("status", {})
    if why.get("reason"):  # such as Evicted
        return JobFailedError, f"its pod: {why['reason']}: {why.get('message', '')}".rstrip(": ")
    return JobFailedError, str(condition.get("message") or condition.get("reason") or "no word why")


def _container_state(pod: Object | None) -> dict[str, Any]:
    statuses = () if pod is None else pod.get("status", {}).get("containerStatuses") or ()
    return dict(statuses[0].get("state") or {}) if statuses else {}


def _waits_for(pod: Object | None, waiting: Object) -> str:
    if pod is None:
        return "its pod was not made yet"
    for each in pod.get("status", {}).get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return f"it waits for a node: {each.get('message', '')}".rstrip(": ")
    return f"its container starts: {waiting.get('reason', '')}".rstrip(": ")
