"""The client: problems as errors with their codes, and waits that end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from memory_platform import MemoryPlatform

from conch.control.client import ApiError, Client, UnreachableError, WaitTimeoutError


@contextmanager
def _stranger() -> Iterator[str]:
    """Run a web server that is not conch."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403, "go away")

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_nobody_there_is_its_own_error() -> None:
    """A refused connection is `not-running`, with the command that helps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with Client(url) as client, pytest.raises(UnreachableError, match="conch up"):
            client.healthy()


def test_a_stranger_is_recognised() -> None:
    """An answer that is no problem document is not taken for one."""
    not_conch = pytest.raises(ApiError, match="not by conch")
    with _stranger() as url, Client(url) as client, not_conch as caught:
        client.models()
    assert caught.value.code == "api-error"


def test_an_error_carries_the_whole_problem(memory_platform: MemoryPlatform) -> None:
    """Code, message, hint and details are those of the problem document."""
    with pytest.raises(ApiError) as caught:
        memory_platform.client.jobs(limit=0)
    shown = caught.value.as_dict()
    assert shown["code"] == "request-invalid"
    assert shown["hint"]
    assert "query.limit" in shown["details"]["problems"]
    assert ApiError.code == "api-error"


def test_a_wait_ends_in_time(memory_platform: MemoryPlatform) -> None:
    """What does not happen is told apart from what went wrong."""
    with pytest.raises(WaitTimeoutError, match="to be verified took longer than 0 s"):
        memory_platform.client.wait_verified("never registered", 1, timeout_s=0)
    with pytest.raises(WaitTimeoutError, match="to answer"):
        memory_platform.client.wait_live("never registered", timeout_s=0)


def test_a_wait_for_a_job_shows_its_progress(memory_platform: MemoryPlatform) -> None:
    """The watcher sees the job until it ended well."""
    memory_platform.live("watched")
    job = memory_platform.client.jobs(limit=1)[0]
    seen: list[str] = []
    ended = memory_platform.client.wait_job(
        job["id"], timeout_s=30, watch=lambda one: seen.append(one["status"])
    )
    assert ended["status"] == seen[-1] == "succeeded"
    assert ended["progress"] == 1.0


def test_a_first_version_that_cannot_be_loaded_ends_the_wait(
    memory_platform: MemoryPlatform,
) -> None:
    """Waiting for a version to be live raises with the server's words where it never will be."""
    memory_platform.target.fail_load("hopeless", 1, "bad weights")
    number = memory_platform.register("hopeless")
    with pytest.raises(ApiError, match="bad weights") as caught:
        memory_platform.client.wait_live("hopeless", number, timeout_s=30)
    assert caught.value.code == "load-failed"


def test_an_ended_job_is_not_cancelled(memory_platform: MemoryPlatform) -> None:
    """An ended job cannot be cancelled; the conflict says how it ended."""
    memory_platform.live("ended")
    job = memory_platform.client.jobs(limit=1)[0]
    memory_platform.client.wait_job(job["id"], timeout_s=30)
    with pytest.raises(ApiError, match="already ended: succeeded") as caught:
        memory_platform.client.cancel_job(job["id"])
    assert caught.value.code == "conflict"
