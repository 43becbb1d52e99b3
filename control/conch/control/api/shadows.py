"""How a candidate answered copies of requests."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from conch.core import NotFoundError

from ..evidence import EvidenceUnavailableError, ShadowSummary
from ..recording import EventsUnavailableError
from .problems import documented
from .services import Given

router = APIRouter(prefix="/releases", tags=["releases"])


class DisagreementShown(BaseModel):
    """One request that the two versions answered differently."""

    request_id: str
    at_s: float = Field(description="When it was asked, Unix seconds.")
    kind: str = Field(description="`label`, `distance`, `shape` or `error`.")
    output: str = Field(description="The output that differs; empty for an error.")
    distance: float | None
    inputs: Any = Field(description="What was asked; null where it is not kept.")
    live: Any
    candidate: Any


class ShadowShown(BaseModel):
    """Mirrored requests, both answers of each compared."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "pairs": 1200,
                "unpaired": 3,
                "disagreements": 18,
                "labels_differ": 18,
                "candidate_errors": 0,
                "live_errors": 0,
                "worst_distance": 0.41,
                "tolerance": 0.05,
                "live_ms": {"p50": 1.9, "p99": 4.2},
                "candidate_ms": {"p50": 2.0, "p99": 4.4},
                "worst": [],
                "since_s": 1795464000.0,
                "cut_s": 1795464600.0,
            }
        }
    )

    pairs: int
    unpaired: int
    disagreements: int
    labels_differ: int
    candidate_errors: int = Field(description="Pairs in which only the candidate failed.")
    live_errors: int = Field(description="Pairs in which only the live version failed.")
    worst_distance: float | None
    tolerance: float = Field(description="Of a number without a label, relative to the live one.")
    live_ms: dict[str, float]
    candidate_ms: dict[str, float]
    worst: list[DisagreementShown] = Field(description="Some disagreements, the worst first.")
    since_s: float | None
    cut_s: float


@router.get(
    "/{release_id}/shadow",
    summary="How the candidate answered copies of requests",
    responses=documented(NotFoundError, EventsUnavailableError, EvidenceUnavailableError),
)
def show_shadow(release_id: str, given: Given) -> ShadowShown:
    """Return what the mirrored requests of the last hour and since come to.

    Counting begins with the first look, so the first answer may be empty.
    """
    release = given.reading.release(release_id)
    recording = given.plane.recording
    if recording is None:
        raise EventsUnavailableError("This control plane keeps no event log.")
    with given.plane.database.look() as tx:
        model = tx.models.first(name=release.model_name)
    if model is None:
        raise NotFoundError(f"There is no model {release.model_name!r}.")
    return _shown(recording.follower().shadow(release_id, model.triton_name))


def _shown(summary: ShadowSummary) -> ShadowShown:
    return ShadowShown.model_validate(summary, from_attributes=True)
