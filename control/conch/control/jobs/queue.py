"""The queue of durable jobs: enqueue, claim under a lease, heartbeat, end, cancel.

Functions of an open transaction and of `now`; nothing here waits or reads a clock. A job belongs to
whoever holds its latest lease token. An older holder learns that it lost at its next heartbeat and
can write nothing more, because every effect checks the token in the transaction that writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final

from conch.core import ConchError, ConflictError

from ..state import Job, JobStatus, Json, Transaction, new_id

LEASE_S: Final = 30.0
"""How long a claim lasts without a heartbeat."""

MOST_ATTEMPTS: Final = 3
"""Claims after which a job that never ended by itself is given up."""


class LeaseLostError(ConchError):
    """Another process took the job over, so this one must stop acting on it."""

    code = "lease-lost"


class GaveUpError(ConchError):
    """A job ended with its process too often."""

    code = "job-gave-up"


def enqueue(tx: Transaction, *, kind: str, subject: str, label: str, now: datetime) -> Job:
    """Return the open job of this kind for this subject, adding one where there is none."""
    if existing := open_job(tx, kind=kind, subject=subject):
        return existing
    return tx.jobs.add(
        Job(
            id=new_id(),
            kind=kind,
            subject=subject,
            label=label,
            status=JobStatus.QUEUED,
            created_at=now,
        )
    )


def open_job(tx: Transaction, *, kind: str, subject: str) -> Job | None:
    """Return the queued or running job of a kind for a subject."""
    return tx.jobs.first(kind=kind, subject=subject, status=[JobStatus.QUEUED, JobStatus.RUNNING])


def claim(tx: Transaction, *, kinds: Collection[str], owner: str, now: datetime) -> Job | None:
    """Take the oldest job that waits, or whose holder let its lease run out.

    A job cancelled while it waited is ended here; one that was claimed `MOST_ATTEMPTS` times and
    never ended is failed with `job-gave-up`.
    """
    for job in tx.jobs.find(kind=list(kinds), status=[JobStatus.QUEUED, JobStatus.RUNNING]):
        if job.status is JobStatus.RUNNING and (job.lease_until is None or now < job.lease_until):
            continue
        if job.cancel_requested:
            _end(tx, job, JobStatus.CANCELLED, outcome=None, now=now)
            continue
        if job.attempts >= MOST_ATTEMPTS:
            gave_up = GaveUpError(
                f"Job {job.label!r} was interrupted {job.attempts} times and is given up.",
                hint="Look at the control plane's log for what ended it, then request it again.",
            )
            _end(tx, job, JobStatus.FAILED, outcome=gave_up.as_dict(), now=now)
            continue
        return tx.jobs.change(
            job,
            status=JobStatus.RUNNING,
            owner=owner,
            lease_token=job.lease_token + 1,
            lease_until=now + timedelta(seconds=LEASE_S),
            heartbeat_at=now,
            started_at=now,
            attempts=job.attempts + 1,
            progress=0.0,
            message="",
        )
    return None


def held(tx: Transaction, job: Job) -> Job:
    """Return the job as it stands now, if the holder of `job` still holds it.

    Raises:
        LeaseLostError: It was claimed by another since, or has ended.
    """
    current = tx.jobs.get(job.id)
    if current.lease_token != job.lease_token or current.status is not JobStatus.RUNNING:
        raise LeaseLostError(f"Job {job.label!r} is no longer held by this process.")
    return current


def heartbeat(
    tx: Transaction,
    job: Job,
    *,
    now: datetime,
    progress: float | None = None,
    message: str | None = None,
) -> Job:
    """Renew the lease and tell how far the job is; `cancel_requested` of the result counts.

    Raises:
        LeaseLostError: Another process took the job.
    """
    current = held(tx, job)
    return tx.jobs.change(
        current,
        lease_until=now + timedelta(seconds=LEASE_S),
        heartbeat_at=now,
        progress=current.progress if progress is None else min(1.0, max(0.0, progress)),
        message=current.message if message is None else message[:2000],
    )


def finish(
    tx: Transaction, job: Job, *, status: JobStatus, outcome: Json | None, now: datetime
) -> Job:
    """End a job that this process holds.

    Raises:
        LeaseLostError: Another process took the job.
    """
    return _end(tx, held(tx, job), status, outcome=outcome, now=now)


def request_cancel(tx: Transaction, job_id: str, *, now: datetime) -> Job:
    """Ask for a job's end; one that waits ends at once, a running one at its next check.

    Raises:
        ConflictError: It has ended already.
    """
    job = tx.jobs.get(job_id)
    if job.status.ended:
        raise ConflictError(f"Job {job.label!r} has already ended: {job.status.value}.")
    if job.status is JobStatus.QUEUED:
        return _end(tx, job, JobStatus.CANCELLED, outcome=None, now=now)
    return tx.jobs.change(job, cancel_requested=True)


def release_dead(tx: Transaction, *, alive: Callable[[str], bool]) -> list[Job]:
    """Queue again the running jobs whose holder is known to be gone; return them."""
    return [
        tx.jobs.change(job, status=JobStatus.QUEUED, owner="", lease_until=None)
        for job in tx.jobs.find(status=JobStatus.RUNNING)
        if not alive(job.owner)
    ]


def _end(
    tx: Transaction, job: Job, status: JobStatus, *, outcome: Json | None, now: datetime
) -> Job:
    return tx.jobs.change(
        job,
        status=status,
        outcome=outcome,
        lease_until=None,
        finished_at=now,
        progress=1.0 if status is JobStatus.SUCCEEDED else job.progress,
    )
