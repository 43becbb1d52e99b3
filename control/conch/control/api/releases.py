"""Releases: a person moves traffic from one version to another, and back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from conch.core import ConflictError, ModelName, NotFoundError

from ..reading import MOST, ReleaseView
from ..state import Release
from . import examples
from .bodies import RollbackBody, StartReleaseBody, WeightBody, basis_points
from .problems import documented
from .services import ACTOR, Given, Services

router = APIRouter(tags=["releases"])

_ANSWERS = {
    **examples.answers("release"),
    **documented(NotFoundError, ConflictError),
}


@router.get(
    "/releases",
    summary="List releases, the newest first",
    responses={**examples.answers("releases"), **documented(NotFoundError)},
)
def list_releases(
    given: Given,
    model: Annotated[str | None, Query(description="Only this model's.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[ReleaseView]:
    """List releases, open and ended."""
    return given.reading.releases(model=model, limit=limit)


@router.get(
    "/releases/{release_id}",
    summary="One release",
    responses={**examples.answers("release"), **documented(NotFoundError)},
)
def show_release(release_id: str, given: Given) -> ReleaseView:
    """Return one release; `job` tells how far its candidate is loaded."""
    return given.reading.release(release_id)


@router.post(
    "/models/{name}/releases",
    status_code=HTTPStatus.CREATED,
    summary="Start a release",
    responses={
        **examples.answers("release being prepared", HTTPStatus.CREATED),
        **documented(NotFoundError, ConflictError),
    },
)
def start_release(name: str, body: StartReleaseBody, given: Given) -> ReleaseView:
    """Load a verified version beside the live one, warm and check it, then give it the weight.

    Answers at once; the release is `preparing` until its candidate is ready.
    """
    release = given.plane.releases.start(
        ModelName(name),
        body.version,
        weight=basis_points(body.weight),
        bake_s=body.bake_s,
        note=body.note,
        actor=ACTOR,
    )
    return _shown(given, release)


@router.patch(
    "/models/{name}/releases/current", summary="Set the candidate's weight", responses=_ANSWERS
)
def set_weight(name: str, body: WeightBody, given: Given) -> ReleaseView:
    """Give the candidate of the open release a share of the traffic; answers once it has it."""
    return _shown(
        given, given.plane.releases.set_weight(ModelName(name), basis_points(body.weight))
    )


@router.post(
    "/models/{name}/releases/current/promote", summary="Promote the candidate", responses=_ANSWERS
)
def promote(name: str, given: Given) -> ReleaseView:
    """Give the candidate all traffic; the former version stays loaded for the bake time."""
    return _shown(given, given.plane.releases.promote(ModelName(name)))


@router.post(
    "/models/{name}/releases/current/rollback",
    summary="Give all traffic back",
    responses=_ANSWERS,
)
def rollback(name: str, given: Given, body: RollbackBody | None = None) -> ReleaseView:
    """Give all traffic back to the version that was live before; needs no load.

    Works on the open release and, during the bake time, on the one promoted last.
    """
    reason = "" if body is None else body.reason
    return _shown(given, given.plane.releases.rollback(ModelName(name), reason=reason))


def _shown(given: Services, release: Release) -> ReleaseView:
    return given.reading.release(release.id)
