"""Jobs are done once, by one holder, and never lost."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from conch.control import jobs
from conch.control.jobs import queue
from conch.control.state import Database, Job, JobStatus
from conch.core import ConflictError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=queue.LEASE_S + 1)


def enqueue(database: Database, subject: str = "v1", now: datetime = NOW) -> Job:
    with database.begin() as tx:
        return jobs.enqueue(tx, kind="build", subject=subject, label=subject, now=now)


def claim(database: Database, owner: str, now: datetime = NOW) -> Job | None:
    with database.begin() as tx:
        return queue.claim(tx, kinds=["build"], owner=owner, now=now)


def test_one_open_job_per_subject(database: Database) -> None:
    """Asking twice for the same work gives the same job; after its end, a new one."""
    first = enqueue(database)
    assert enqueue(database).id == first.id
    held = claim(database, "me")
    assert held is not None
    with database.begin() as tx:
        queue.finish(tx, held, status=JobStatus.SUCCEEDED, outcome={}, now=NOW)
    assert enqueue(database).id != first.id


def test_a_job_is_claimed_once(database: Database) -> None:
    """While a lease holds, nobody else gets the job."""
    enqueue(database)
    assert claim(database, "me") is not None
    assert claim(database, "you") is None


def test_a_lease_that_ran_out_is_taken_over_and_the_loser_can_write_nothing(
    database: Database,
) -> None:
    """The token fences: heartbeat and end of the former holder are refused."""
    enqueue(database)
    mine = claim(database, "me")
    yours = claim(database, "you", LATER)
    assert mine is not None
    assert yours is not None
    assert yours.lease_token > mine.lease_token
    with pytest.raises(jobs.LeaseLostError), database.begin() as tx:
        queue.heartbeat(tx, mine, now=LATER)
    with pytest.raises(jobs.LeaseLostError), database.begin() as tx:
        queue.finish(tx, mine, status=JobStatus.SUCCEEDED, outcome={}, now=LATER)
    with database.begin() as tx:
        done = queue.finish(tx, yours, status=JobStatus.SUCCEEDED, outcome={"a": 1}, now=LATER)
    assert done.progress == 1.0


def test_a_heartbeat_keeps_the_lease(database: Database) -> None:
    """A holder that beats is not overtaken."""
    enqueue(database)
    mine = claim(database, "me")
    assert mine is not None
    with database.begin() as tx:
        queue.heartbeat(tx, mine, now=NOW + timedelta(seconds=20), progress=0.4, message="half")
    assert claim(database, "you", LATER) is None


def test_a_job_that_never_ends_by_itself_is_given_up(database: Database) -> None:
    """After three claims the job fails with a reason instead of killing a fourth process."""
    job = enqueue(database)
    for attempt in range(queue.MOST_ATTEMPTS):
        assert claim(database, "me", NOW + attempt * timedelta(hours=1)) is not None
    assert claim(database, "me", NOW + timedelta(days=1)) is None
    with database.begin() as tx:
        ended = tx.jobs.get(job.id)
    assert ended.status is JobStatus.FAILED
    assert ended.outcome is not None
    assert ended.outcome["code"] == "job-gave-up"


def test_cancelling(database: Database) -> None:
    """A waiting job ends at once, a running one is asked to, an ended one is refused."""
    waiting = enqueue(database, "waiting")
    with database.begin() as tx:
        assert jobs.request_cancel(tx, waiting.id, now=NOW).status is JobStatus.CANCELLED
    running = enqueue(database, "running")
    held = claim(database, "me")
    assert held is not None
    with database.begin() as tx:
        jobs.request_cancel(tx, running.id, now=NOW)
        assert queue.heartbeat(tx, held, now=NOW).cancel_requested
    with pytest.raises(ConflictError), database.begin() as tx:
        jobs.request_cancel(tx, waiting.id, now=NOW)


def test_jobs_of_a_dead_process_are_queued_again_at_once(database: Database) -> None:
    """A holder of this host that is gone is known by its pid and start, without waiting."""
    enqueue(database, "dead")
    enqueue(database, "alive", LATER)
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "from conch.control.jobs import this_process; print(this_process())",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert claim(database, child.stdout.strip()) is not None
    assert claim(database, jobs.this_process()) is not None
    with database.begin() as tx:
        freed = jobs.release_dead(tx, alive=jobs.is_alive)
    assert [job.label for job in freed] == ["dead"]
    assert jobs.is_alive("elsewhere:1:2")
