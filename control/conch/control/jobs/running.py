"""Running jobs in threads of the control process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from conch.core import ConchError

from ..state import Database, Job, JobStatus, Json, Transaction
from . import queue

log = logging.getLogger(__name__)

T = TypeVar("T")
_HEARTBEAT_S: Final = queue.LEASE_S / 6
_TELL_EVERY_S: Final = 0.1
_LOOK_EVERY_S: Final = 1.0


class CancelledError(ConchError):
    """A person asked for the end of the job."""

    code = "job-cancelled"


class JobContext:
    """What a handler sees of the job that it works on."""

    def __init__(self, *, job: Job, database: Database, now: Callable[[], datetime]) -> None:
        self.job = job
        self._database = database
        self._now = now
        self._told = 0.0
        self._ended = threading.Event()
        self._cancel = threading.Event()

    def progress(self, fraction: float, message: str) -> None:
        """Tell how far the job is (0 to 1) and what it does; written at most ten times a second.

        Once the job should stop, each call says so, and why: who was cancelled clears up, who lost
        the job must not.

        Raises:
            CancelledError: A person asked for the end.
            LeaseLostError: Another process took the job.
        """
        told_just_now = time.monotonic() - self._told < _TELL_EVERY_S
        if fraction < 1.0 and told_just_now and not self.cancelled():
            return
        self._told = time.monotonic()
        self.beat(progress=fraction, message=message)
        if self._cancel.is_set():
            raise CancelledError(f"Job {self.job.label!r} was cancelled.")

    def cancelled(self) -> bool:
        """Tell whether the handler should stop: cancelled, or no longer the holder."""
        return self._cancel.is_set() or self._ended.is_set()

    def commit(self, effect: Callable[[Transaction], T]) -> T:
        """Run an effect in a transaction that also proves that the job is still held.

        Raises:
            LeaseLostError: Another process took the job; nothing was written.
        """
        with self._database.begin() as tx:
            queue.held(tx, self.job)
            return effect(tx)

    def beat(self, *, progress: float | None = None, message: str | None = None) -> None:
        """Renew the lease and learn whether somebody asked for the end."""
        try:
            with self._database.begin() as tx:
                current = queue.heartbeat(
                    tx, self.job, now=self._now(), progress=progress, message=message
                )
        except queue.LeaseLostError:
            self._ended.set()
            raise
        if current.cancel_requested:
            self._cancel.set()


class Handler(Protocol):
    """Does one kind of job.

    Returns the outcome to keep. A `ConchError` fails the job with that reason. Handlers start over
    cleanly when a job is claimed again after a crash.
    """

    def __call__(self, context: JobContext, /) -> Json: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of job.

    Attributes:
        handler: What does it.
        threads: How many may run at once in this process.
    """

    handler: Handler
    threads: int = 1


class ThreadRunner:
    """Claims and runs jobs in threads of this process: the JobRunner of one machine.

    Args:
        database: Where the queue is.
        kinds: What this process can do.
        owner: The name under which it takes leases.
        now: The clock.
        ended: Called after every job that ended, so that others look at once.
        guard: Raises within the transaction of a claim where this process may not act.
    """

    def __init__(
        self,
        *,
        database: Database,
        kinds: Mapping[str, Kind],
        owner: str,
        now: Callable[[], datetime],
        ended: Callable[[], None],
        guard: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._owner = owner
        self._now = now
        self._ended = ended
        self._guard = guard
        self._stop = threading.Event()
        self._wake = {kind: threading.Event() for kind in kinds}
        self._running: set[JobContext] = set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for name, kind in self._kinds.items():
            for number in range(kind.threads):
                self._spawn(f"job-{name}-{number}", self._work, name, kind.handler)
        self._spawn("job-heartbeat", self._beat)

    def nudge(self) -> None:
        """Look for work now."""
        for event in self._wake.values():
            event.set()

    def stop(self, *, timeout_s: float) -> None:
        """Take no more jobs and wait, bounded, for those that run; what is left is queued again."""
        self._stop.set()
        self.nudge()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._database.begin() as tx:
            queue.release_dead(tx, alive=lambda owner: owner != self._owner)

    def _spawn(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, kind: str, handler: Handler) -> None:
        while not self._stop.is_set():
            self._wake[kind].clear()
            try:
                with self._database.begin() as tx:
                    self._guard(tx)
                    job = queue.claim(tx, kinds=[kind], owner=self._owner, now=self._now())
            except ConchError as error:
                log.debug("no look for %s jobs: %s", kind, error)
                job = None
            if job is None:
                self._wake[kind].wait(_LOOK_EVERY_S)
                continue
            self._run(job, handler)
            self._ended()

    def _run(self, job: Job, handler: Handler) -> None:
        context = JobContext(job=job, database=self._database, now=self._now)
        self._running.add(context)
        status, outcome = JobStatus.FAILED, None
        log.info("job %s: started (attempt %d)", job.label, job.attempts)
        try:
            outcome = handler(context)
            status = JobStatus.SUCCEEDED
        except CancelledError:
            status = JobStatus.CANCELLED
        except queue.LeaseLostError as error:
            log.warning("job %s: %s", job.label, error)
            return
        except ConchError as error:
            outcome = error.as_dict()
            log.warning("job %s: %s", job.label, error)
        except Exception as error:
            outcome = {"code": "internal", "message": repr(error), "hint": "", "details": {}}
            log.exception("job %s: failed", job.label)
        finally:
            self._running.discard(context)
        try:
            with self._database.begin() as tx:
                queue.finish(tx, job, status=status, outcome=outcome, now=self._now())
        except ConchError as error:  # the lease will run out, and the job is taken up again
            log.warning("job %s: its end could not be written: %s", job.label, error)

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            for context in list(self._running):
                try:
                    context.beat()
                except ConchError as error:
                    log.warning("job %s: no heartbeat: %s", context.job.label, error)
