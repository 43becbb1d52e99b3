"""Metrics over the API: what can be told where no server runs, and where nobody looks."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from memory_platform import MemoryPlatform, running_memory_platform

from conch.control.client import ApiError


def test_an_arm_without_series_says_why(memory_platform: MemoryPlatform) -> None:
    """No number is made up; conch's own counts are on the page, for whoever scrapes it."""
    memory_platform.live("uncounted")
    (arm,) = memory_platform.client.arm_metrics("uncounted")
    assert (arm["version"], arm["weight"]) == (1, 100.0)
    for reading in arm["readings"].values():
        assert reading["value"] is None
        assert reading["trouble"] in ("unavailable", "absent")
        assert reading["because"]
    page = httpx.get(f"{memory_platform.url}/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE conch_live gauge" in page.text
    with pytest.raises(ApiError) as error:
        memory_platform.client.arm_metrics("nobody")
    assert error.value.code == "not-found"


def test_where_nobody_looks_it_is_said(tmp_path: Path) -> None:
    """A problem with a code, for the page and for an arm."""
    with running_memory_platform(tmp_path, counted=False) as platform:
        platform.live("unseen")
        with pytest.raises(ApiError) as error:
            platform.client.arm_metrics("unseen")
        assert error.value.code == "metrics-unavailable"
        answer = httpx.get(f"{platform.url}/metrics")
    assert (answer.status_code, answer.json()["code"]) == (409, "metrics-unavailable")
