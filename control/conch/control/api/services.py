"""What endpoints are given: the assembled services, from the app's lifespan."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ..keys import same_key
from ..plane import ControlPlane
from ..predicting import Predictor
from ..reading import Differing, Overview, Reading, ReadingExperiments
from .problems import UnauthorizedError

ACTOR: Final = "administrator"
"""Who acts when the administrator key was shown; written into releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that answers requests.

    Attributes:
        key: The administrator key.
        hook_places: One for each webhook delivery that may be taken at the same time.
    """

    plane: ControlPlane
    reading: Reading
    experiments: ReadingExperiments
    differing: Differing
    overview: Overview
    predictor: Predictor
    key: str
    hook_places: asyncio.Semaphore


def services(request: Request) -> Services:
    """Return the services that the lifespan put together."""
    return cast(Services, request.state.services)


Given = Annotated[Services, Depends(services)]

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="administrator",
    description="The key in `<home>/admin.key`, made by `conch up`.",
)


def require_administrator(
    given: Given,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let a request pass that shows the administrator key.

    Raises:
        UnauthorizedError: It shows none, or another.
    """
    if credentials is None or not same_key(credentials.credentials, given.key):
        raise UnauthorizedError(
            "This needs the administrator key."
            if credentials is None
            else "This is not the administrator key.",
            hint="Send `Authorization: Bearer <key>` with the key in <home>/admin.key.",
        )
