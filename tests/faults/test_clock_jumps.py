"""A control plane whose clock jumps while it works: what it does goes on, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from memory_platform import MemoryPlatform, running_memory_platform

DAY = timedelta(days=1)


class Clock:
    """The machine's clock, set wrong by `ahead`."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def clock() -> Clock:
    """Right at first; a test sets it wrong."""
    return Clock()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[MemoryPlatform]:
    """A platform whose clock is `clock`."""
    with running_memory_platform(tmp_path_factory.mktemp("clock"), now=clock) as one:
        yield one


@pytest.mark.parametrize("jump", [DAY, -2 * DAY], ids=["ahead", "back"])
def test_work_goes_on_over_a_jump(platform: MemoryPlatform, clock: Clock, jump: timedelta) -> None:
    """A build under way ends as one job, its version goes live, and releases work as before."""
    client, name = platform.client, f"jump of {jump.days} days"
    platform.workshop.open.clear()
    number = platform.register(name)
    clock.ahead += jump
    client.sweep()
    platform.workshop.open.set()
    assert client.wait_live(name, number, timeout_s=60) == number
    subject = client.version(name, number)["id"]
    builds = [job for job in client.jobs() if (job["kind"], job["subject"]) == ("build", subject)]
    assert [(job["status"], job["attempts"]) for job in builds] == [("succeeded", 1)]
    second = platform.verified(name, factor=3.0)
    client.start_release(name, second)
    client.wait_release_running(name, timeout_s=30)
    client.promote(name)
    assert client.model(name)["live_version"] == second
    clock.ahead -= 2 * jump
    client.rollback(name, reason="the clock was put right")
    assert client.model(name)["live_version"] == number
