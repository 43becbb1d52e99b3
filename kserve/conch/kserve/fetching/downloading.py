"""Asking the control plane for a build's repository, again where the network failed."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from .addresses import BuildAddress
from .errors import ArchiveError, InterruptedFetchError, RefusedFetchError, SettingsError
from .receiving import Stream

URL_VARIABLE: Final = "CONCH_URL"
KEY_VARIABLE: Final = "CONCH_API_KEY"

WAITS_S: Final = (1.0, 2.0, 5.0, 10.0)
"""Seconds before each further attempt; five attempts in all."""

SILENCE_S: Final = 120.0
"""Longest wait for the next bytes: the control plane reads the whole build before it begins."""

_LARGEST_PROBLEM: Final = 64 * 1024
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneAccess:
    """Where the control plane is, and what opens it.

    Attributes:
        url: Its address, such as `http://conch.conch:8090`.
        key: The fetch key, or the administrator key.
        silence_s: Longest wait for the next bytes, in seconds.
    """

    url: str
    key: str = field(repr=False)
    silence_s: float = SILENCE_S

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read it from environment variables.

        Raises:
            SettingsError: One is not there, or is no address.
        """
        url, key = (environment.get(name, "").strip() for name in (URL_VARIABLE, KEY_VARIABLE))
        if not url or not key:
            raise SettingsError(
                f"{URL_VARIABLE if not url else KEY_VARIABLE} is not set.",
                hint=f"Set {URL_VARIABLE} to the control plane's address and {KEY_VARIABLE} to "
                "its fetch key.",
            )
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SettingsError(f"{URL_VARIABLE} is {url!r}, not an http:// or https:// address.")
        return cls(url=url.rstrip("/"), key=key)


def download(
    access: ControlPlaneAccess,
    address: BuildAddress,
    take: Callable[[Stream], T],
    *,
    told: Callable[[str], None],
    sleep: Callable[[float], None],
) -> T:
    """Have a build's repository taken from what the control plane sends.

    Every attempt begins anew. Only what may pass is tried again: no connection, a connection that
    broke or fell silent, and answers that say so.

    Raises:
        RefusedFetchError: The control plane does not give the build.
        InterruptedFetchError: The last attempt failed, too.
        FetchError: Whatever `take` raises.
    """
    attempts = len(WAITS_S) + 1
    for number, wait_s in enumerate((*WAITS_S, None), start=1):
        try:
            with _answer(access, address) as stream:
                return take(stream)
        except InterruptedFetchError as error:
            why = f"{access.url}: {error.message}"
            if wait_s is None:
                raise InterruptedFetchError(
                    f"{address.build_id} did not arrive from {why}, {attempts} times.",
                    hint="Is the control plane up, and does a network policy let pods reach it?",
                ) from error
        told(f"attempt {number} of {attempts} failed, the next in {wait_s:g} s: {why}")
        sleep(wait_s)
    raise AssertionError  # the loop returns or raises


class _NotRedirected(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Whole:
    """A body that ends where it was announced to, or fails."""

    def __init__(self, answer: http.client.HTTPResponse, size: int | None) -> None:
        self._answer = answer
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        try:
            block = self._answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise InterruptedFetchError(_words(error)) from error
        if self._left is not None:
            self._left -= len(block)
            if not block and size and self._left:
                raise InterruptedFetchError(f"it ended {self._left} bytes early")
        return block


@contextmanager
def _answer(access: ControlPlaneAccess, address: BuildAddress) -> Iterator[Stream]:
    request = urllib.request.Request(
        access.url + address.path, headers={"Authorization": f"Bearer {access.key}"}
    )
    opener = urllib.request.build_opener(_NotRedirected)
    try:
        answer = opener.open(request, timeout=access.silence_s)
    except urllib.error.HTTPError as error:
        with error:
            problem = _problem(error)
        if problem.get("retryable", error.code in _LATER):
            raise InterruptedFetchError(f"HTTP {error.code} {error.reason}") from error
        raise _refusal(error, problem, address) from error
    except (OSError, http.client.HTTPException) as error:
        raise InterruptedFetchError(_words(error)) from error
    with answer:
        announced = answer.headers.get("content-length", "")
        if answer.status != 200:
            raise ArchiveError(f"{access.url} answered {answer.status} and no repository.")
        yield _Whole(answer, int(announced) if announced.isdecimal() else None)


def _problem(error: urllib.error.HTTPError) -> Mapping[str, Any]:
    """Return the problem document of an answer; empty where it carries none."""
    try:
        found = json.loads(error.read(_LARGEST_PROBLEM))
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(
    error: urllib.error.HTTPError, problem: Mapping[str, Any], address: BuildAddress
) -> RefusedFetchError:
    detail = problem.get("detail") or f"HTTP {error.code} {error.reason}"
    hint = problem.get("hint", "")
    if error.code == 401:
        hint = f"{KEY_VARIABLE} has to be the key in <home>/fetch.key of the control plane."
    return RefusedFetchError(
        f"The control plane does not give {address.model}/{address.build_id}: {detail}",
        hint=str(hint),
        code=str(problem.get("code", "")),
        status=error.code,
    )


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(reason).__name__
