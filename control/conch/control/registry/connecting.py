"""How conch speaks to MLflow: the client, its environment, and what its errors mean.

MLflow reads request timeouts and retries from the environment at every call and has no other place
for them, so they are set for the process, once, unless a person has set them. Its defaults (7
retries of 120 s) would hide an absent server for minutes.

Nothing here sets MLflow's global tracking URI, and nothing relies on it: `models:/` artifact URIs
are never handed to MLflow, whose repository class for them ignores the URI that it is given and
falls back to a new SQLite file in the working directory.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from conch.core import ConchError

from .errors import RegistryRefusedError, RegistryUnavailableError

# MlflowClient ships no types.
Client = Any

_ENVIRONMENT: Final = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a kept-alive connection may have died meanwhile
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def open_client(tracking_uri: str, *, timeout_s: float) -> Client:
    """Return a client for a tracking server whose registry is its own.

    The first call in a process imports MLflow, which takes about a second. No request is made.

    Args:
        tracking_uri: Such as `http://127.0.0.1:5000`.
        timeout_s: For a connection, and for each wait for data; whole seconds, at least 1.
    """
    client = _client_class(math.ceil(max(1.0, timeout_s)))
    return client(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@cache
def _client_class(timeout_s: int) -> Any:
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout_s))
    from mlflow.tracking import MlflowClient  # slow, so not at the top

    return MlflowClient


@contextmanager
def speaking_to(
    tracking_uri: str, doing: str, *, absent: ConchError | None = None
) -> Iterator[None]:
    """Turn MLflow's and requests' errors into conch's.

    Args:
        tracking_uri: Whom the block speaks to, for the message.
        doing: What the block does, such as `list versions`.
        absent: What to raise where the registry answers that the object does not exist.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except ConchError:
        raise
    except MlflowException as error:
        if absent is not None and _status(error) == 404:
            raise absent from error
        raise _translated(error, tracking_uri, doing) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 500
        if absent is not None and status == 404:
            raise absent from error
        if status < 500 and status not in (408, 429):
            raise _refused(error, tracking_uri, doing) from error
        raise _unavailable(error, tracking_uri, doing) from error
    except requests.RequestException as error:
        raise _unavailable(error, tracking_uri, doing) from error


def _translated(error: Any, tracking_uri: str, doing: str) -> ConchError:
    status = _status(error)
    if 400 <= status < 500 and status not in (408, 429):
        return _refused(error, tracking_uri, doing)
    return _unavailable(error, tracking_uri, doing)


def _status(error: Any) -> int:
    """Return the HTTP status; MLflow gives 500 to what never reached a server, too."""
    return int(error.get_http_status_code())


def _refused(error: Exception, tracking_uri: str, doing: str) -> ConchError:
    return RegistryRefusedError(
        f"MLflow at {_shown(tracking_uri)} refused to {doing}: {_first_line(error)}",
        hint="Check the request and conch's rights there.",
    )


def _unavailable(error: Exception, tracking_uri: str, doing: str) -> ConchError:
    return RegistryUnavailableError(
        f"MLflow at {_shown(tracking_uri)} could not {doing}: {_first_line(error)}",
        hint="It is tried again; check that the server runs and that the address is right.",
    )


def _shown(text: str) -> str:
    """Return text in which addresses show no user name and password."""
    return _CREDENTIALS.sub("//", text)


def _first_line(error: Exception) -> str:
    return _shown((str(error).splitlines() or [type(error).__name__])[0])[:300]


_CREDENTIALS: Final = re.compile(r"//[^/@\s]*@")
