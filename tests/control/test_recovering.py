"""What conch itself adds to a recovery: nothing that it could leave out."""

from __future__ import annotations

import logging
import threading

import pytest
from memory_platform import MemoryPlatform

from conch.control.plane import Loop
from conch.control.registry import RegistryUnavailableError


def test_a_build_that_lost_its_worker_is_built_again_within_its_job(
    memory_platform: MemoryPlatform,
) -> None:
    """No second job, no pause: what is left to wait for is a worker's start."""
    memory_platform.workshop.crashes = 1
    number = memory_platform.live("worker lost once")
    version = memory_platform.client.version("worker lost once", number)
    found = memory_platform.client.jobs()
    builds = [job for job in found if (job["kind"], job["subject"]) == ("build", version["id"])]
    assert [(job["status"], job["attempts"]) for job in builds] == [("succeeded", 1)]


def test_a_pass_that_failed_is_tried_again_soon_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its usual pause is an hour; what was away is noticed when it comes back all the same."""
    passes, done = [], threading.Event()

    def look() -> None:
        passes.append(1)
        if len(passes) < 3:
            raise RegistryUnavailableError("MLflow is away.")
        done.set()

    loop = Loop("look", look, every_s=3600)
    with caplog.at_level(logging.WARNING):
        loop.start()
        assert done.wait(30)
        loop.stop(timeout_s=5)
    assert len(passes) == 3
    assert len([line for line in caplog.messages if "MLflow is away" in line]) == 1
