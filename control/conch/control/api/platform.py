"""The platform as a whole: its state, and a look at the registry on demand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from conch.core import InvalidValueError, SlotName
from conch.local import ServerGivenError

from ..reading import PlatformView
from ..registry import RegistryUnavailableError
from . import examples
from .bodies import ALL_SLOTS, ScaleBody, ScaleShown, SweepShown, shown_plan
from .problems import documented
from .services import Given

router = APIRouter(tags=["platform"])


@router.get("/status", summary="Everything at a glance", responses=examples.answers("platform"))
def status(given: Given) -> PlatformView:
    """Return servers, routes, counts and the age of the last look at the registry."""
    return given.overview.platform(swept_at=given.plane.last_sweep, now=given.plane.now())


@router.post(
    "/platform/scale",
    status_code=HTTPStatus.ACCEPTED,
    summary="Change how many model servers a slot has",
    responses=documented(InvalidValueError, ServerGivenError),
)
def scale(given: Given, body: ScaleBody) -> ScaleShown:
    """Start or drain servers of one slot, or of all; answers before they are ready.

    A new server gets traffic once it holds everything that its slot holds; one that leaves first
    finishes what it was asked. The number stays until it is changed here or in the settings.
    """
    known = given.plane.reconciler.slots
    slots = known if body.slot == ALL_SLOTS else (SlotName(body.slot),)
    given.plane.scale(slots, body.replicas)
    state = given.plane.target.observe()
    return ScaleShown(slots={slot: len(state.in_slot(slot)) for slot in known})


@router.post(
    "/sweep",
    summary="Look at the registry now",
    responses={
        HTTPStatus.ACCEPTED.value: {"model": SweepShown, "description": "Asked for."},
        **documented(RegistryUnavailableError),
    },
)
def sweep(
    given: Given,
    response: Response,
    wait: Annotated[bool, Query(description="Answer after the look, with what changed.")] = False,
) -> SweepShown:
    """Look at the registry now instead of at the next turn."""
    if wait:
        return shown_plan(given.plane.sweep())
    given.plane.nudge_sweep()
    response.status_code = HTTPStatus.ACCEPTED
    return SweepShown(done=False, changes=[])
