"""Webhooks of MLflow: opened by their signature, not by the administrator key."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from ..leading import NotLeaderError
from ..receiving import HooksBusyError, Outcome, WebhooksOffError
from ..registry import (
    LARGEST_BODY,
    ForgedDeliveryError,
    MalformedDeliveryError,
    MissingHeaderError,
    OversizedDeliveryError,
    StaleDeliveryError,
)
from ..state import DatabaseUnavailableError
from .problems import documented
from .services import Given

AT_ONCE: Final = 16
"""Deliveries that are read and written at the same time; each may hold `LARGEST_BODY` bytes."""

_READ_S: Final = 10.0

router = APIRouter(prefix="/v1/hooks", tags=["webhooks"])


class Receipt(BaseModel):
    """What became of a delivery."""

    model_config = ConfigDict(json_schema_extra={"example": {"outcome": "taken"}})

    outcome: Outcome = Field(
        description="`taken`; `repeated`: taken before; `ignored`: about nothing that is followed."
    )


@router.post(
    "/mlflow",
    summary="Take a webhook delivery",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "As MLflow sends it, with its three `X-MLflow-` headers.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
    responses={
        HTTPStatus.OK.value: {"model": Receipt, "description": "It is kept, or needs not be."},
        **documented(
            WebhooksOffError,
            OversizedDeliveryError,
            MissingHeaderError,
            ForgedDeliveryError,
            StaleDeliveryError,
            MalformedDeliveryError,
            HooksBusyError,
            NotLeaderError,
            DatabaseUnavailableError,
        ),
    },
)
async def take_delivery(request: Request, given: Given) -> Receipt:
    """Take a delivery that is signed with the webhook secret; the registry is looked at soon after.

    Answers 2xx only once it is written down. MLflow sends again after a 503 and never after a 4xx,
    so whatever may pass is a 503.
    """
    if given.hook_places.locked():
        raise HooksBusyError(f"{AT_ONCE} deliveries are being taken.", hint="Send it again.")
    async with given.hook_places:
        body = await _bounded_body(request)
        outcome = await run_in_threadpool(given.plane.inbox.take, request.headers, body)
    return Receipt(outcome=outcome)


async def _bounded_body(request: Request) -> bytes:
    """Return the body, having read no more of it than `LARGEST_BODY` and what was on its way."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > LARGEST_BODY:
        raise _oversized()
    body = bytearray()
    try:
        async with asyncio.timeout(_READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise _oversized()
    except TimeoutError as error:
        raise HooksBusyError(
            f"The body did not arrive within {_READ_S:g} s.", hint="Send it again."
        ) from error
    except ClientDisconnect as error:
        raise MalformedDeliveryError("The delivery ended before its body did.") from error
    return bytes(body)


def _oversized() -> OversizedDeliveryError:
    return OversizedDeliveryError(f"The delivery has more than {LARGEST_BODY} bytes.")
