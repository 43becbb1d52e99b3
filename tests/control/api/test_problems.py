"""Every error of the API is one kind of document with a stable code."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from memory_platform import MemoryPlatform

from conch.control.api import MEDIA_TYPE, STATUSES, Problem, problem_of, status_of
from conch.core import ConchError, NotFoundError


class _FreshError(NotFoundError):
    """Something of a kind that no table knows."""

    code = "fresh"


def _ask(platform: MemoryPlatform, method: str, path: str, **given: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {platform.key}"}
    return httpx.request(method, platform.url + path, headers=headers, **given)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/models/nobody", None, 404, "not-found"),
        ("GET", "/nowhere", None, 404, "unknown-path"),
        ("DELETE", "/v1/models", None, 404, "unknown-path"),
        ("POST", "/v1/models/nobody/releases", {"weight": 3}, 422, "request-invalid"),
        ("POST", "/v1/models/nobody/releases", {"version": 1, "wait": 3}, 422, "request-invalid"),
        ("GET", "/v1/jobs?limit=0", None, 422, "request-invalid"),
        ("GET", "/v1/models/nobody/versions/one", None, 422, "request-invalid"),
        ("GET", "/v1/models?metric=accuracy", None, 422, "invalid-value"),
    ],
)
def test_errors_are_problem_documents(
    memory_platform: MemoryPlatform,
    method: str,
    path: str,
    body: object,
    status: int,
    code: str,
) -> None:
    """Status, media type and members follow RFC 9457, whoever noticed the error."""
    response = _ask(memory_platform, method, path, json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = Problem.model_validate(response.json(), strict=True)
    assert problem.status == status
    assert problem.code == code
    assert problem.type.endswith(f":{code}")
    assert problem.instance == path.partition("?")[0]
    assert problem.title
    assert problem.detail
    assert problem.hint


def test_a_body_that_is_no_json_is_a_problem(memory_platform: MemoryPlatform) -> None:
    """A body that cannot be parsed is refused in the same form."""
    response = _ask(memory_platform, "POST", "/v1/models/x/predict", content=b"{")
    assert response.json()["code"] == "request-invalid"


def test_a_class_has_its_own_status_or_its_parents() -> None:
    """A class that the table does not list takes the status of its nearest listed parent."""
    assert status_of(_FreshError) is STATUSES[NotFoundError]
    assert status_of(ConchError) == 500
    problem = problem_of(_FreshError("No such thing.", hint="Look."), instance="/x")
    assert (problem.code, problem.status) == ("fresh", 404)
    assert problem.title == "Something of a kind that no table knows."


def test_an_error_that_nobody_expected_says_nothing_of_the_inside(
    memory_platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is a 500 with a code, without a traceback or the error's own words."""

    class BrokenError(Exception):
        pass

    def broken() -> None:
        raise BrokenError("secret inside")

    monkeypatch.setattr(memory_platform.target, "observe", broken)
    response = _ask(memory_platform, "GET", "/v1/status")
    assert response.status_code == 500
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text


def test_a_passing_failure_says_when_to_come_back(memory_platform: MemoryPlatform) -> None:
    """A retryable problem carries `Retry-After`."""
    memory_platform.registry.available = False
    try:
        response = _ask(memory_platform, "POST", "/v1/sweep?wait=true")
    finally:
        memory_platform.registry.available = True
    assert response.status_code == 503
    assert response.json()["code"] == "registry-unavailable"
    assert response.json()["retryable"]
    assert int(response.headers["retry-after"]) > 0
