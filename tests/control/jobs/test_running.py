"""What a handler learns of its job while it works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from conch.control import jobs
from conch.control.jobs import CancelledError, JobContext, LeaseLostError, queue
from conch.control.state import Database, Job

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=queue.LEASE_S + 1)


def claim(database: Database, owner: str, now: datetime) -> Job:
    """Return the one job, taken."""
    with database.begin() as tx:
        job = queue.claim(tx, kinds=["build"], owner=owner, now=now)
    assert job is not None
    return job


@pytest.fixture
def context(database: Database) -> JobContext:
    """The context of a job that is held."""
    with database.begin() as tx:
        jobs.enqueue(tx, kind="build", subject="v1", label="v1", now=NOW)
    return JobContext(job=claim(database, "me", NOW), database=database, now=lambda: LATER)


def test_who_lost_the_job_is_told_so_however_often_it_tells(
    context: JobContext, database: Database
) -> None:
    """It must not take the loss for a person's wish, and clear away what another goes on with."""
    claim(database, "you", LATER)
    with pytest.raises(LeaseLostError):
        context.progress(0.1, "one")
    assert context.cancelled()
    with pytest.raises(LeaseLostError):
        context.progress(0.1, "one, at once again")


def test_who_is_to_stop_is_told_so_however_often_it_tells(
    context: JobContext, database: Database
) -> None:
    """Also within the tenth of a second in which nothing else is written."""
    with database.begin() as tx:
        jobs.request_cancel(tx, context.job.id, now=NOW)
    for _ in range(2):
        with pytest.raises(CancelledError):
            context.progress(0.1, "one")
