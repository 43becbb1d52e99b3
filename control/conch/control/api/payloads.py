"""Payload events of a cluster, opened by a token in the path: KServe's logger shows no key."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from conch.core import NotFoundError
from conch.events import EventTooLargeError

from ..keys import same_key
from ..payloads import Asked, Intake, PayloadInvalidError, PayloadsBusyError, read_payload
from .problems import documented
from .services import Given, Services

LARGEST_BODY: Final = 64 * 1024 * 1024

router = APIRouter(prefix="/v1/payloads", tags=["payload events"])


class Taken(BaseModel):
    """An event was taken."""

    model_config = ConfigDict(json_schema_extra={"example": {"tells": "request"}})

    tells: Literal["request", "answer"] = Field(description="What it tells of.")


class PayloadsOffError(NotFoundError):
    """Nobody counts payload events here, or not under this address."""

    code = "payloads-off"


@router.post(
    "/{token}",
    summary="Take a payload event",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A CloudEvent in binary mode, as KServe's payload logger posts it; the "
            "body is the payload, and is not kept.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
    responses={
        HTTPStatus.ACCEPTED.value: {
            "model": Taken,
            "description": "It is taken, and counted once its answer is due.",
        },
        **documented(PayloadsOffError, PayloadInvalidError, EventTooLargeError, PayloadsBusyError),
    },
)
async def take_payload(
    request: Request,
    given: Given,
    token: Annotated[str, Path(description="`payloads.token` of the profile.")],
) -> Taken:
    """Take a request's or an answer's event; what a plan is decided by on a cluster."""
    intake = _intake(given, token)
    event = read_payload(request.headers, empty=await _is_empty(request))
    await run_in_threadpool(intake.take, event)
    return Taken(tells="request" if isinstance(event, Asked) else "answer")


def _intake(given: Services, token: str) -> Intake:
    intake = given.plane.intake
    if intake is None or not same_key(token, intake.source.token):
        raise PayloadsOffError(
            "Payload events are not taken under this address.",
            hint="The profile of the cluster states it: `payloads: {url: ..., token: ...}`.",
        )
    return intake


async def _is_empty(request: Request) -> bool:
    """Read the body to its end, keep nothing of it, and tell whether there was any."""
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > LARGEST_BODY:
                raise EventTooLargeError(f"A payload has at most {LARGEST_BODY} bytes.")
    except ClientDisconnect as error:
        raise PayloadInvalidError("The request ended before its body did.") from error
    return size == 0
