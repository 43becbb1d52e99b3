"""Builds with their verification reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from conch.core import NotFoundError

from ..reading import MOST, BuildView
from . import examples
from .problems import documented
from .services import Given

router = APIRouter(prefix="/builds", tags=["builds"])


@router.get(
    "",
    summary="List builds, the newest first",
    responses={**examples.answers("builds"), **documented(NotFoundError)},
)
def list_builds(
    given: Given,
    model: Annotated[str | None, Query(description="Only this model's.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[BuildView]:
    """List builds without their reports."""
    return given.reading.builds(model=model, limit=limit)


@router.get(
    "/{build_id}",
    summary="One build with its verification report",
    responses={**examples.answers("build"), **documented(NotFoundError)},
)
def show_build(build_id: str, given: Given) -> BuildView:
    """Return one build; `report` compares the converted model's answers with its source's."""
    return given.reading.build(build_id)
