"""Whether the control plane lives, and whether it is fit to work."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter

from ..reading import NotReadyError
from .bodies import Health, Readiness
from .problems import documented
from .services import Given

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Does the process answer?")
def healthz() -> Health:
    """Answer as long as the process does; asks nobody else."""
    return Health(status="ok", version=version("conch"))


@router.get(
    "/readyz", summary="Does everything that it needs answer?", responses=documented(NotReadyError)
)
def readyz(given: Given) -> Readiness:
    """Check the database, the inference entry and the age of the last look at the registry."""
    checks = given.overview.check(swept_at=given.plane.last_sweep, now=given.plane.now())
    return Readiness(status="ready", checks=checks)
