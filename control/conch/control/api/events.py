"""Events of applications: metrics and feedback, acknowledged once they are durable."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import Future
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from conch.events import (
    Appended,
    AppendTimeoutError,
    DiskFullError,
    EventTooLargeError,
    InvalidEventError,
    Kind,
    LogBusyError,
    LogFailedError,
    LogFullError,
)

from ..evidence.following import FollowerStatus
from ..recording import EventsUnavailableError, Recording
from ..sent_events import EventsInvalidError, read_events
from .problems import documented
from .services import Given, Services

LARGEST_BODY: Final = 8 * 1024 * 1024
_NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_ANSWER_S: Final = 30.0
_MOST_TAIL: Final = 1000
_READ_AT_ONCE: Final = 16 * 1024
"""Bytes of a body that is read on the event loop; a larger one would hold others up."""

router = APIRouter(prefix="/events", tags=["events"])


class Receipt(BaseModel):
    """What became of the events; it is sent once they are durable."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"stored": 2, "repeated": 0, "next_offset": 1042}}
    )

    stored: int = Field(description="Events that are new.")
    repeated: int = Field(description="Events whose id was stored before; the first one counts.")
    next_offset: int = Field(description="Every event of the request lies below it in the log.")


class EventStats(BaseModel):
    """How the event log stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "first_offset": 0,
                "next_offset": 1042,
                "log_bytes": 301_220,
                "compacted_parts": 1,
                "compacted_events": 800,
                "compacts": True,
                "read_behind_s": 1.1,
                "exposures_read": 1040,
                "malformed_lines": 0,
                "malformed_example": "",
                "by_kind": {"exposure": 1040, "metric": 2},
                "by_metric": {"purchase": 2},
                "payloads": {"received": 2080, "counted": 1040, "unanswered": 3},
            }
        }
    )

    first_offset: int = Field(description="The oldest event in the log itself.")
    next_offset: int = Field(description="The offset that the next event gets.")
    log_bytes: int = Field(description="Bytes of the log itself.")
    compacted_parts: int = Field(description="Parquet files.")
    compacted_events: int = Field(description="Events in them.")
    compacts: bool = Field(description="Whether the extra `events` is installed.")
    read_behind_s: float | None = Field(
        description="How old the gateway's requests are that were read last, in seconds."
    )
    exposures_read: int = Field(description="Requests read since the control plane started.")
    malformed_lines: int = Field(description="Lines of the access log that could not be read.")
    malformed_example: str = Field(description="Why the last of them could not be.")
    by_kind: dict[str, int] = Field(description="Events that are kept, by kind.")
    by_metric: dict[str, int] = Field(description="Metric events that are kept, by name.")
    payloads: dict[str, int] | None = Field(
        description="What became of a cluster's payload events, in requests; null: none are taken."
    )


_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "One event, a list, or NDJSON; at most 10,000 events and 8 MiB.",
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"type": "object"}, {"type": "array"}]},
                "example": {"kind": "metric", "id": "o-1", "name": "purchase", "value": 3.5}
                | {"unit": "user-7"},
            },
            _NDJSON[0]: {"schema": {"type": "string"}},
        },
    }
}


@router.post(
    "",
    summary="Send events",
    status_code=HTTPStatus.OK,
    openapi_extra=_BODY,
    responses={
        HTTPStatus.OK.value: {"model": Receipt, "description": "They are durable."},
        **documented(
            EventsInvalidError,
            EventTooLargeError,
            EventsUnavailableError,
            LogBusyError,
            LogFullError,
            DiskFullError,
            LogFailedError,
        ),
    },
)
async def send_events(request: Request, given: Given) -> Response:
    """Store metrics and feedback; answers after the durable write, all of them or none.

    Idempotent by `id`: send again whatever was not answered with 200.
    """
    log = _recording(given).log
    body = await _bounded_body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()

    def submit() -> tuple[int, Future[Appended]]:
        events = read_events(body, ndjson=kind in _NDJSON, received_at=time.time())
        return len(events), log.submit(events)

    small = len(body) <= _READ_AT_ONCE
    count, future = submit() if small else await run_in_threadpool(submit)
    try:
        answer = await asyncio.wait_for(asyncio.wrap_future(future), _ANSWER_S)
    except TimeoutError as error:
        raise AppendTimeoutError(
            f"The event log did not answer within {_ANSWER_S:g} s.",
            hint="Send it again under the same ids; what was stored is not stored again.",
        ) from error
    repeated = sum(answer.repeated)
    receipt = {
        "stored": count - repeated,
        "repeated": repeated,
        "next_offset": max(answer.offsets, default=log.next_offset - 1) + 1,
    }
    return Response(json.dumps(receipt), media_type="application/json")


@router.get(
    "/stats", summary="How the event log stands", responses=documented(EventsUnavailableError)
)
def show_stats(given: Given) -> EventStats:
    """Return sizes, counts by kind and metric, and how far behind the gateway the log is."""
    recording = _recording(given)
    log, status = recording.log, recording.follower().status
    parts, compacted, kinds, metrics = recording.counts()
    return EventStats(
        first_offset=log.first_offset,
        next_offset=log.next_offset,
        log_bytes=log.size_bytes,
        compacted_parts=parts,
        compacted_events=compacted,
        compacts=recording.compacts,
        read_behind_s=_behind_s(status),
        exposures_read=status.exposures,
        malformed_lines=status.malformed,
        malformed_example=status.malformed_example,
        by_kind=kinds,
        by_metric=metrics,
        payloads=None if given.plane.intake is None else asdict(given.plane.intake.status),
    )


class EventsRead(BaseModel):
    """A piece of the log."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "events": [{"offset": 1041, "kind": "metric", "name": "purchase", "value": 3.5}],
                "next_offset": 1042,
            }
        }
    )

    events: list[dict[str, Any]] = Field(description="As stored, each with its offset.")
    next_offset: int = Field(description="Where to go on.")


@router.get(
    "", summary="Read events from an offset on", responses=documented(EventsUnavailableError)
)
def read_log(
    given: Given,
    after: Annotated[
        int | None, Query(ge=0, description="Offset to begin at; left out: the newest events.")
    ] = None,
    kind: Annotated[Kind | None, Query(description="Only this kind.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_TAIL)] = 100,
) -> EventsRead:
    """Return events in the order of the log, and the offset to go on from."""
    events, next_offset = _recording(given).read(after, kind=kind, limit=limit)
    return EventsRead(events=events, next_offset=next_offset)


def _recording(given: Services) -> Recording:
    recording = given.plane.recording
    if recording is None:
        raise EventsUnavailableError("This control plane keeps no event log.")
    return recording


def _behind_s(status: FollowerStatus) -> float | None:
    return None if status.read_s is None else round(max(0.0, time.time() - status.read_s), 3)


async def _bounded_body(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > LARGEST_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise _too_large()
    except ClientDisconnect as error:
        raise InvalidEventError("The request ended before its body did.") from error
    return bytes(body)


def _too_large() -> EventTooLargeError:
    return EventTooLargeError(
        f"A request with events has at most {LARGEST_BODY} bytes.",
        hint="Send them in several requests.",
    )
