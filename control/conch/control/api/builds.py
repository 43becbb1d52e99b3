"""Builds with their verification reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

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
    "/{build_id}/report.html",
    summary="A build's verification report as a page",
    response_class=HTMLResponse,
    include_in_schema=False,  # for a browser's address line; the schema tells of `/report`
)
def show_report_page(build_id: str, given: Given) -> HTMLResponse:
    """Return the report as one HTML page that needs no other file."""
    return HTMLResponse(given.reading.report_page(build_id))


@router.get(
    "/{build_id}/report",
    summary="A build's verification report",
    responses={
        200: {
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": "build report",
                },
                "text/html": {},
            }
        },
        **documented(NotFoundError),
    },
)
def show_report(build_id: str, given: Given, request: Request) -> Response:
    """Return `report.json`; as a page where `Accept` prefers HTML. A refusal's report is here too.

    The build's digest, and `report_digest` in its manifest, cover the published file.
    """
    if prefers_html(request.headers.get("accept", "")):
        return HTMLResponse(given.reading.report_page(build_id), headers={"vary": "accept"})
    return JSONResponse(given.reading.report(build_id), headers={"vary": "accept"})


@router.get(
    "/{build_id}",
    summary="One build with its verification report",
    responses={**examples.answers("build"), **documented(NotFoundError)},
)
def show_build(build_id: str, given: Given) -> BuildView:
    """Return one build; `report` compares the converted model's answers with its source's."""
    return given.reading.build(build_id)


def prefers_html(accept: str) -> bool:
    """Tell whether an `Accept` header wants HTML rather than JSON, as a browser's does.

    >>> prefers_html("text/html,application/xhtml+xml,*/*;q=0.8"), prefers_html("*/*")
    (True, False)
    >>> prefers_html("application/json, text/html;q=0.5")
    False
    """
    weights = {"text/html": 0.0, "application/json": 0.0, "*/*": 0.0}
    for part in accept.split(","):
        kind, *options = (item.strip() for item in part.split(";"))
        quality = next((one[2:] for one in options if one.startswith("q=")), "1")
        if kind in weights:
            try:
                weights[kind] = float(quality)
            except ValueError:
                continue
    return weights["text/html"] > max(weights["application/json"], weights["*/*"])
