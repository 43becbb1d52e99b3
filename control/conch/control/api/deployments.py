"""Deployments: what is served, and how its traffic is divided."""

from __future__ import annotations

from fastapi import APIRouter

from conch.core import NotFoundError

from ..reading import DeploymentView
from . import examples
from .problems import documented
from .services import Given

router = APIRouter(prefix="/deployments", tags=["deployments"])


@router.get("", summary="List deployments", responses=examples.answers("deployments"))
def list_deployments(given: Given) -> list[DeploymentView]:
    """List deployments with the routes that are in force."""
    return given.reading.deployments()


@router.get(
    "/{name}",
    summary="One deployment",
    responses={**examples.answers("deployment"), **documented(NotFoundError)},
)
def show_deployment(name: str, given: Given) -> DeploymentView:
    """Return one deployment by its own name or by its model's."""
    return given.reading.deployment(name)
