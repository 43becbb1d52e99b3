"""What the log does when the disk fails: said, never retried in silence, never half stored."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from event_makers import exposure

from conch.events import DiskFullError, EventLog, LogFailedError
from conch.events.disks import PosixDisk


class FailingDisk(PosixDisk):
    """A real disk on which chosen operations fail as told."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.partly = False

    def write(self, fd: int, data: bytes) -> int:
        """Write; with a failure set, first write half when told so."""
        if "write" in self.fail:
            if self.partly:
                super().write(fd, data[: len(data) // 2])
            self._raise("write")
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        """Flush, or fail."""
        self._raise("sync")
        super().sync(fd)

    def truncate(self, fd: int, length: int) -> None:
        """Cut, or fail."""
        self._raise("truncate")
        super().truncate(fd, length)

    def _raise(self, operation: str) -> None:
        if code := self.fail.get(operation):
            raise OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    "fail",
    [{"sync": errno.EIO}, {"write": errno.EIO}, {"sync": errno.EIO, "truncate": errno.EIO}],
    ids=["fsync", "write", "fsync and truncate"],
)
def test_failed_disk_is_final(tmp_path: Path, fail: dict[str, int]) -> None:
    """After a failed write or fsync nothing more is taken, even once the disk works again."""
    disk = FailingDisk()
    with EventLog(tmp_path, disk=disk) as log:
        log.append([exposure(0)])
        disk.fail = fail
        with pytest.raises(LogFailedError) as failed:
            log.append([exposure(1)])
        assert failed.value.code == "event-log-failed"

        disk.fail = {}
        with pytest.raises(LogFailedError):
            log.append([exposure(2)])
        with pytest.raises(LogFailedError):
            log.seal()
        assert [s.event.event_id for s in log.read(0)] == ["e0"]
        assert log.next_offset == 1


def test_failed_fsync_is_not_taken_for_stored(tmp_path: Path) -> None:
    """An event whose fsync failed is not in the log after reopening, so its retry is stored."""
    disk = FailingDisk()
    with EventLog(tmp_path, disk=disk) as log:
        log.append([exposure(0)])
        disk.fail = {"sync": errno.EIO}
        with pytest.raises(LogFailedError):
            log.append([exposure(1)])

    with EventLog(tmp_path) as log:
        assert log.next_offset == 1
        assert log.append([exposure(1)]).repeated == (False,)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("partly", [False, True])
def test_full_disk_passes(tmp_path: Path, code: int, operation: str, partly: bool) -> None:
    """A full disk refuses the append whole; the log is readable, and writable once there is room.

    An fsync that fails is final for whatever reason, no room among them.
    """
    disk = FailingDisk()
    disk.partly = partly
    with EventLog(tmp_path, disk=disk) as log:
        log.append([exposure(0)])
        disk.fail = {operation: code}
        expected = DiskFullError if operation == "write" else LogFailedError
        with pytest.raises(expected):
            log.append([exposure(1), exposure(2)])
        assert [s.event.event_id for s in log.read(0)] == ["e0"]

        disk.fail = {}
        if operation == "write":
            assert log.append([exposure(2)]).offsets == (1,)

    with EventLog(tmp_path) as log:
        names = [s.event.event_id for s in log.read(0)]
        assert log.report.cut_bytes == 0
    assert names == (["e0", "e2"] if operation == "write" else ["e0"])


def test_full_disk_while_a_segment_begins(tmp_path: Path) -> None:
    """No room for a new segment leaves the old one in use and nothing behind."""
    disk = FailingDisk()
    disk.partly = True
    with EventLog(tmp_path, disk=disk) as log:
        log.append([exposure(0)])
        disk.fail = {"write": errno.ENOSPC}
        with pytest.raises(DiskFullError):
            log.seal()
        disk.fail = {}
        log.append([exposure(1)])
        assert len(list(tmp_path.iterdir())) == 2  # the segment and the lock
        log.seal()
        assert [s.event.event_id for s in log.read(0)] == ["e0", "e1"]


# The kernel's own limit on file sizes (RLIMIT_FSIZE) stands for a disk that is really full.
REALLY_FULL = """
import pathlib, resource, sys
from conch.events import DiskFullError, EventLog
from event_makers import exposure

log = EventLog(pathlib.Path(sys.argv[1]))
log.append([exposure(0)])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (log.size_bytes + 100, hard))
try:
    log.append([exposure(1)])
except DiskFullError as error:
    print(error.code, error.retryable, [s.event.event_id for s in log.read(0)])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(log.append([exposure(1)]).offsets, [s.event.event_id for s in log.read(0)])
log.close()
"""


def test_really_full(tmp_path: Path) -> None:
    """With the kernel refusing to grow the file half way through a write, the same holds."""
    support = Path(__file__).parents[1] / "support"
    done = subprocess.run(
        [sys.executable, "-c", REALLY_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(support)},
    )

    assert done.stdout.splitlines() == [
        "event-disk-full True ['e0']",
        "(1,) ['e0', 'e1']",
    ]
