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
        fetch_key: Opens builds' repositories and nothing else; None: only the other key does.
        hook_places: One for each webhook delivery that may be taken at the same time.
    """

    plane: ControlPlane
    reading: Reading
    experiments: ReadingExperiments
    differing: Differing
    overview: Overview
    predictor: Predictor
    key: str
    fetch_key: str | None
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

_fetching = HTTPBearer(
    auto_error=False,
    scheme_name="fetching",
    description="The key in `<home>/fetch.key`, or the administrator key.",
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


def require_fetching(
    given: Given,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_fetching)],
) -> None:
    """Let a request pass that shows the fetch key or the administrator key.

    Raises:
        UnauthorizedError: It shows none, or another.
    """
    shown = "" if credentials is None else credentials.credentials
    keys = [key for key in (given.fetch_key, given.key) if key is not None]
    fits = [same_key(shown, key) for key in keys]  # both are compared, whichever fits
    if not any(fits):
        raise UnauthorizedError(
            "This needs the fetch key."
            if credentials is None
            else "This is neither the fetch key nor the administrator key.",
            hint="Send `Authorization: Bearer <key>` with the key in <home>/fetch.key.",
        )
