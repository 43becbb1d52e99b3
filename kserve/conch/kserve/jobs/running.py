"""Running a Job to its end: asked for once, followed by watches, its log handed on, or cancelled.

Whoever is cut off calls again with the same Job and goes on following it: it is known by its name
and the hash of its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from ..applying.ownership import HASH_ANNOTATION, is_owned, spec_hash, stamped
from ..cluster.failures import ClusterError, ObjectMissingError
from ..cluster.mirrors import Mirror
from ..cluster.ports import Cluster
from ..cluster.resources import JOB, POD, Key, Object
from ..errors import KServeError
from .errors import (
    JobChangedError,
    JobDeadlineError,
    JobLostError,
    JobNeverRanError,
    JobUnstartableError,
)
from .manifests import CONTAINER, JOB_LABEL, job_manifest
from .reading import JobState, JobStatus, read_job
from .values import ClusterJob

log = logging.getLogger(__name__)

GONE_S: Final = 60.0
"""How long to wait for the end of a pod that was deleted; it has 30 s to end by itself."""
_LOOK_S: Final = 0.5
_LAST_WORDS_S: Final = 10.0
_AGAIN_S: Final = 1.0


class JobCancelledError(KServeError):
    """A Job was deleted before it ended, since that was asked for."""

    code = "cluster-job-cancelled"


async def run_job(
    cluster: Cluster,
    job: ClusterJob,
    *,
    line: Callable[[str], None] = lambda text: None,
    waits: Callable[[str], None] = lambda words: None,
    cancelled: Callable[[], bool] = lambda: False,
    first_s: float = 60.0,
) -> None:
    """Ask for a Job unless it is there, and follow it until it has succeeded.

    Args:
        cluster: Where.
        job: What.
        line: Called with each line of its log, once.
        waits: Called with what it waits for, whenever that changes.
        cancelled: Asked twice a second; true deletes the Job.
        first_s: How long the first look may take.

    Raises:
        JobChangedError: A Job of the name is for something else.
        JobFailedError: It failed; the kind and the message say why.
        JobCancelledError: It was cancelled.
        ClusterError: The cluster refused it, or could not be asked at first.
    """
    await submit(cluster, job)
    async with _following(cluster, job) as (jobs, pods):
        for mirror in (jobs, pods):
            if not await mirror.settled(timeout_s=first_s):
                raise mirror.error or ClusterError(f"{_key(job)} could not be followed in time.")
        log_of = _Log(cluster, job, line)
        try:
            await _followed(cluster, job, jobs, pods, log_of, waits=waits, cancelled=cancelled)
        finally:
            await log_of.close()


async def submit(cluster: Cluster, job: ClusterJob) -> Object:
    """Make a Job exist; one of the same content is left as it is.

    Raises:
        JobChangedError: One of the same name is for something else, or not conch's.
    """
    body = job_manifest(job)
    try:
        found = await cluster.get(_key(job))
    except ObjectMissingError:
        return await cluster.apply(stamped(body))
    notes = found["metadata"].get("annotations") or {}
    if is_owned(found) and notes.get(HASH_ANNOTATION) == spec_hash(body):
        return found
    raise JobChangedError(
        f"{_key(job)} exists and is for something else.",
        hint="A Job cannot be changed: delete it, or wait until it is gone.",
    )


async def remove(cluster: Cluster, job: ClusterJob, *, gone_s: float = 0.0) -> None:
    """Delete a Job with its pods; one that is gone is fine, one that is not conch's stays.

    Args:
        cluster: Where.
        job: What.
        gone_s: How long to wait until its pod has ended and is gone, in seconds; until then its
            program may be at work, and the node's GPU is taken.
    """
    try:
        found = await cluster.get(_key(job))
    except ObjectMissingError:
        return
    if not is_owned(found):
        return
    await cluster.delete(_key(job), uid=str(found["metadata"]["uid"]))
    if gone_s <= 0:
        return
    async with _following(cluster, job) as mirrors:
        for mirror in mirrors:
            if not await mirror.until(
                lambda m=mirror: m.followed and not m.objects,  # type: ignore[misc]
                timeout_s=gone_s,
            ):
                log.warning("%s was deleted, and its pod is not gone after %g s", job.name, gone_s)
                return


async def _followed(
    cluster: Cluster,
    job: ClusterJob,
    jobs: Mirror,
    pods: Mirror,
    log_of: _Log,
    *,
    waits: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> None:
    told, before = "", None
    while True:
        log_of.check()
        if cancelled():
            await remove(cluster, job, gone_s=GONE_S)
            raise JobCancelledError(f"{_key(job)} was cancelled and deleted.")
        body = jobs.objects.get(_key(job))
        if body is None and jobs.followed:
            raise JobLostError(
                f"{_key(job)} was deleted before it had ended.",
                hint="Ask for it again; whoever deletes Jobs in the namespace knows why.",
            )
        status = before if body is None else read_job(body, tuple(pods.objects.values()))
        if status is not None:
            if status.words != told and status.state is JobState.WAITING:
                told = status.words
                waits(told)
            if status.logs:
                told = ""
                log_of.follow(status.pod)
            if status.state in (JobState.SUCCEEDED, JobState.FAILED):
                await log_of.finished()
                if status.failure is JobUnstartableError:
                    await remove(cluster, job)  # it would be tried until its deadline
                _judge(job, status, told)
                return
        before = status
        version = _versions(jobs, pods)
        await jobs.until(lambda v=version: _versions(jobs, pods) != v, timeout_s=_LOOK_S)  # type: ignore[misc]


def _judge(job: ClusterJob, status: JobStatus, waited: str) -> None:
    """Raise what a Job's end is; `waited` is what it waited for, where it was never seen to run."""
    if status.failure is JobDeadlineError and waited:
        raise JobNeverRanError(
            f"{_key(job)} did not run within {job.deadline_s} s: {waited}. "
            f"It asked for {job.asks}.",
            hint="Ask for less, give it longer, or see what else has the nodes.",
        )
    if status.failure is not None:
        raise status.failure(
            f"{_key(job)} failed: {status.words}.",
            hint=f"`kubectl logs --namespace {job.namespace} job/{job.name}` has its last words.",
        )


class _Log:
    """The log of a Job's one container, followed in a task of its own; each line comes once."""

    def __init__(self, cluster: Cluster, job: ClusterJob, line: Callable[[str], None]) -> None:
        self._cluster, self._job, self._line = cluster, job, line
        self._task: asyncio.Task[None] | None = None

    def follow(self, pod: str) -> None:
        """Begin, unless that is done."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(pod))

    def check(self) -> None:
        """Raise what a taker of lines raised."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def finished(self) -> None:
        """Wait for the last lines; without them after a while, go on."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_LAST_WORDS_S)
        self.check()

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, pod: str) -> None:
        key = Key(
            api_version=POD.api_version, kind=POD.kind, namespace=self._job.namespace, name=pod
        )
        seen = 0
        while True:
            number = 0
            try:
                async for text in self._cluster.follow_log(key, CONTAINER):
                    number += 1
                    if number > seen:  # a log that is read again begins at its beginning
                        seen = number
                        self._line(text)
                return
            except ClusterError as error:
                if not error.retryable:
                    log.warning("%s: its log cannot be read: %s", key, error)
                    return
            await asyncio.sleep(_AGAIN_S)


@asynccontextmanager
async def _following(cluster: Cluster, job: ClusterJob) -> AsyncIterator[tuple[Mirror, Mirror]]:
    labels = f"{JOB_LABEL}={job.name}"
    mirrors = [Mirror(cluster, kind, job.namespace, labels=labels) for kind in (JOB, POD)]
    tasks = [asyncio.create_task(mirror.run()) for mirror in mirrors]
    try:
        yield mirrors[0], mirrors[1]
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _key(job: ClusterJob) -> Key:
    return Key(api_version=JOB.api_version, kind=JOB.kind, namespace=job.namespace, name=job.name)


def _versions(*mirrors: Mirror) -> tuple[str, ...]:
    return tuple(
        str(body["metadata"]["resourceVersion"])
        for mirror in mirrors
        for body in mirror.objects.values()
    )
