"""A disk that fills up while a version is fetched, built or published, on a real small one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from inflicting import until
from memory_platform import MemoryPlatform, running_memory_platform, write_scaling

FEATURES = 100_000
"""Of the model: 400 kB of weights, and about 3 MB of golden rows."""


class SmallDisk:
    """A file system in memory that is mounted on a folder.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run("mount", "-t", "tmpfs", "-o", "size=64k", "conch-test", str(folder))

    def resize(self, kilobytes: int) -> None:
        """Give it another size."""
        self._run("mount", "-o", f"remount,size={kilobytes}k", str(self._folder))

    def unmount(self) -> None:
        """Take it away."""
        self._run("umount", "-l", str(self._folder))

    def _run(self, *argv: str) -> None:
        subprocess.run(argv, check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk where a platform keeps its builds."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "builds"
    folder.mkdir()
    try:
        disk = SmallDisk(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine mounts no tmpfs: {error.stderr.strip()}")
    yield disk
    disk.unmount()


@pytest.fixture
def platform(disk: SmallDisk, tmp_path: Path) -> Iterator[MemoryPlatform]:
    """A control plane whose builds go to the small disk."""
    with running_memory_platform(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    "kilobytes", [pytest.param(200, id="fetching"), pytest.param(1_000, id="publishing")]
)
def test_a_full_disk_delays_a_version_and_refuses_nothing(
    platform: MemoryPlatform, disk: SmallDisk, tmp_path: Path, kilobytes: int
) -> None:
    """The reason is told, nothing half is left, and with room again it is built by itself."""
    disk.resize(kilobytes)
    path = tmp_path / "large.onnx"
    write_scaling(path, factor=2.0, features=FEATURES)
    number = platform.registry.register_path("large", path).number
    platform.client.sweep()
    until(lambda: _outcome(platform) == "build-disk-full", timeout_s=60)
    assert platform.client.version("large", number)["status"] == "building"
    left = [found for found in (tmp_path / "builds").rglob("*") if found.is_file()]
    assert left == []
    disk.resize(64_000)
    platform.client.wait_live("large", number, timeout_s=60)


def _outcome(platform: MemoryPlatform) -> str | None:
    """Return how the newest build ended."""
    ended = [job for job in platform.client.jobs() if job["kind"] == "build" and job["outcome"]]
    return str(ended[0]["outcome"]["code"]) if ended else None
