"""Errors as problem documents (RFC 9457); the one place where a class meets an HTTP status."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from conch.core import ConchError, ConflictError, InvalidValueError, NotFoundError
from conch.events import (
    AppendTimeoutError,
    DiskFullError,
    EventTooLargeError,
    InvalidEventError,
    LogBusyError,
    LogClosedError,
    LogFailedError,
    LogFullError,
)
from conch.local import (
    GatewayUnavailableError,
    RoutesRejectedError,
    SlotNotReadyError,
    SupervisorMissingError,
)

from ..evidence import EvidenceUnavailableError
from ..leading import NotLeaderError
from ..payloads import PayloadsBusyError
from ..predicting import InferenceUnavailableError, PredictionFailedError
from ..reading import NotReadyError
from ..receiving import HooksBusyError
from ..recording import EventsUnavailableError
from ..registry import (
    DeliveryError,
    ForgedDeliveryError,
    MissingHeaderError,
    ModelFileError,
    OversizedDeliveryError,
    RegistryRefusedError,
    RegistryUnavailableError,
    ServingTagError,
    StaleDeliveryError,
)
from ..state import DatabaseUnavailableError

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 1


class UnauthorizedError(ConchError):
    """The request carries no administrator key, or another one."""

    code = "unauthorized"


class UnknownPathError(NotFoundError):
    """The API has no such path, or the path takes no such method."""

    code = "unknown-path"


class BodyInvalidError(InvalidValueError):
    """A body, query or path parameter is not of the documented form."""

    code = "request-invalid"


class InternalError(ConchError):
    """An error that nobody expected; the control plane's log has it in full."""

    code = "internal"


STATUSES: Final[Mapping[type[ConchError], HTTPStatus]] = {
    ConchError: HTTPStatus.INTERNAL_SERVER_ERROR,
    InvalidValueError: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidEventError: HTTPStatus.UNPROCESSABLE_ENTITY,
    EventTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ModelFileError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ServingTagError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    DeliveryError: HTTPStatus.BAD_REQUEST,
    ForgedDeliveryError: HTTPStatus.UNAUTHORIZED,
    MissingHeaderError: HTTPStatus.UNAUTHORIZED,
    StaleDeliveryError: HTTPStatus.UNAUTHORIZED,
    OversizedDeliveryError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    PredictionFailedError: HTTPStatus.BAD_GATEWAY,
    RegistryRefusedError: HTTPStatus.BAD_GATEWAY,
    RoutesRejectedError: HTTPStatus.BAD_GATEWAY,
    AppendTimeoutError: HTTPStatus.SERVICE_UNAVAILABLE,
    LogBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    LogClosedError: HTTPStatus.SERVICE_UNAVAILABLE,
    LogFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    LogFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    DatabaseUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    EventsUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    EvidenceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    GatewayUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    HooksBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    InferenceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotLeaderError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    PayloadsBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    RegistryUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    SlotNotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    SupervisorMissingError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each class; a class that is not listed has its nearest listed parent's."""


class Problem(BaseModel):
    """What every error looks like (RFC 9457, with members of conch's own)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:conch:error:not-verified",
                "title": "A version without a verified build was to get traffic.",
                "status": 409,
                "detail": "Version 3 of 'digits' is refused, not verified: output 'y' differs.",
                "instance": "/v1/models/digits/releases",
                "code": "not-verified",
                "hint": "`conch models show` tells how far it is.",
                "retryable": False,
                "details": {},
            }
        }
    )

    type: str = Field(description="A name for the kind of problem; holds the code.")
    title: str = Field(description="What this kind of problem is; the same each time.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, to which object.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="Stable; listed in docs/reference/errors.md.")
    hint: str = Field(description="What to do about it; empty when there is nothing to do.")
    retryable: bool = Field(description="Whether the same request can succeed later.")
    details: dict[str, Any] = Field(description="Further facts.")


def status_of(kind: type[ConchError]) -> HTTPStatus:
    """Return the status of an error's class: its own, or that of its nearest listed parent."""
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def problem_of(error: ConchError, *, instance: str) -> Problem:
    """Return the problem document of an error."""
    return Problem(
        type=f"urn:conch:error:{error.code}",
        title=(inspect.getdoc(type(error)) or error.code).splitlines()[0],
        status=status_of(type(error)),
        detail=error.message,
        instance=instance,
        code=error.code,
        hint=error.hint,
        retryable=error.retryable,
        details=jsonable_encoder(error.details),
    )


def documented(*kinds: type[ConchError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that may fail with errors of these classes."""
    found: dict[HTTPStatus, list[str]] = {}
    for kind in kinds:
        found.setdefault(status_of(kind), []).append(f"`{kind.code}`")
    return {
        status.value: {
            "description": f"{status.phrase}: {', '.join(codes)}, or a code below it.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, codes in sorted(found.items())
    }


def handle_problems(app: FastAPI) -> None:
    """Make every error of an app a problem document."""

    @app.exception_handler(ConchError)
    def _expected(request: Request, error: ConchError) -> JSONResponse:
        return _response(request, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _response(request, _misfit(error))

    @app.exception_handler(HTTPException)
    def _unknown(request: Request, error: HTTPException) -> JSONResponse:
        unknown = UnknownPathError(
            f"There is nothing at {request.method} {request.url.path}.",
            hint="The API is described at /docs.",
        )
        return _response(request, unknown)

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.exception("%s %s: failed", request.method, request.url.path, exc_info=error)
        internal = InternalError(
            f"{type(error).__name__} while answering {request.method} {request.url.path}.",
            hint="`conch logs control` shows it in full.",
        )
        return _response(request, internal)


def _response(request: Request, error: ConchError) -> JSONResponse:
    problem = problem_of(error, instance=request.url.path)
    headers = {}
    if error.retryable:
        headers["retry-after"] = str(_RETRY_AFTER_S)
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = 'Bearer realm="conch"'
    if isinstance(error, OversizedDeliveryError):
        headers["connection"] = "close"  # else the server would read the rest and drop it
    return JSONResponse(
        problem.model_dump(), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _misfit(error: RequestValidationError) -> BodyInvalidError:
    problems = {".".join(str(part) for part in one["loc"]): one["msg"] for one in error.errors()}
    return BodyInvalidError(
        "; ".join(f"{where}: {words}" for where, words in problems.items()) + ".",
        hint="The API is described at /docs.",
        problems=problems,
    )
