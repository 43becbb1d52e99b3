"""Who may call what: the administrator key, and what is open."""

from __future__ import annotations

import httpx
import pytest
from memory_platform import MemoryPlatform

_OPEN = {
    "/healthz",
    "/readyz",
    "/v1/models/{name}/predict",
    "/v1/hooks/mlflow",  # opened by its signature, see test_hooks.py
    "/v1/payloads/{token}",  # opened by its token, see test_payloads.py
}


def _operations(platform: MemoryPlatform) -> list[tuple[str, str]]:
    paths = httpx.get(f"{platform.url}/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic YTpi", "wrong"])
def test_everything_but_the_open_paths_asks_for_the_key(
    memory_platform: MemoryPlatform, given: str | None
) -> None:
    """Each operation of the description refuses a request without the right key."""
    headers = {} if given is None else {"authorization": given}
    closed = [one for one in _operations(memory_platform) if one[1] not in _OPEN]
    assert len(closed) > 15
    for method, path in closed:
        url = memory_platform.url + path.replace("{version}", "1")
        response = httpx.request(method, url, headers=headers)
        assert response.status_code == 401, (method, path)
        assert response.json()["code"] == "unauthorized"
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_open_paths_need_no_key(memory_platform: MemoryPlatform) -> None:
    """Health and predictions answer without a key."""
    assert httpx.get(f"{memory_platform.url}/healthz").json()["status"] == "ok"
    assert httpx.get(f"{memory_platform.url}/readyz").status_code in (200, 503)
    url = f"{memory_platform.url}/v1/models/nobody/predict"
    assert httpx.post(url, json={"inputs": [[1]]}).json()["code"] == "not-found"


def test_the_description_says_what_is_closed(memory_platform: MemoryPlatform) -> None:
    """The OpenAPI description marks exactly the closed operations with the key."""
    schema = httpx.get(f"{memory_platform.url}/openapi.json").json()
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in _OPEN), path
