"""Long work: what runs, how far it is, and its end."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from conch.core import ConflictError, NotFoundError

from ..reading import MOST, JobView
from . import examples
from .problems import documented
from .services import Given

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("", summary="List jobs, the newest first", responses=examples.answers("jobs"))
def list_jobs(
    given: Given,
    unfinished: Annotated[bool, Query(description="Only those that have not ended.")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[JobView]:
    """List jobs with their progress."""
    return given.reading.jobs(unfinished=unfinished, limit=limit)


@router.get(
    "/{job_id}",
    summary="One job",
    responses={**examples.answers("job"), **documented(NotFoundError)},
)
def show_job(job_id: str, given: Given) -> JobView:
    """Return one job."""
    return given.reading.job(job_id)


@router.post(
    "/{job_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    summary="Ask for the end of a job",
    responses={
        **examples.answers("job asked to end", HTTPStatus.ACCEPTED),
        **documented(NotFoundError, ConflictError),
    },
)
def cancel_job(job_id: str, given: Given) -> JobView:
    """Ask for the end of a job; one that waits ends at once, a running one at its next check."""
    given.plane.cancel_job(job_id)
    return given.reading.job(job_id)
