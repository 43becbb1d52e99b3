"""Durable jobs: a queue with leases, and the threads that run it on one machine."""

from ..state import Job
from .owners import is_alive, this_process
from .queue import LeaseLostError, enqueue, open_job, release_dead, request_cancel
from .running import CancelledError, Handler, JobContext, Kind, ThreadRunner

__all__ = [
    "CancelledError",
    "Handler",
    "Job",
    "JobContext",
    "Kind",
    "LeaseLostError",
    "ThreadRunner",
    "enqueue",
    "is_alive",
    "open_job",
    "release_dead",
    "request_cancel",
    "this_process",
]
