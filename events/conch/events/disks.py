"""The few disk operations whose failure the log must survive, as a port."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk(Protocol):
    """What the writer asks of the file system."""

    def write(self, fd: int, data: bytes) -> int:
        """Write some of `data` at the end of the file and return how many bytes."""
        ...

    def sync(self, fd: int) -> None:
        """Return once what was written is durable."""
        ...

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to a length in bytes."""
        ...


class PosixDisk:
    """The operating system's own file system."""

    def write(self, fd: int, data: bytes) -> int:
        """Write some of `data`; see `Disk.write`."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Flush data and length (`fdatasync`); directories are flushed in the same way."""
        os.fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file; see `Disk.truncate`."""
        os.ftruncate(fd, length)


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write all of `data`, however many calls it takes."""
    written = disk.write(fd, data)
    while written < len(data):
        written += disk.write(fd, data[written:])


def sync_directory(disk: Disk, directory: Path) -> None:
    """Make renames and deletions in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)


def make_directory(disk: Disk, directory: Path) -> None:
    """Make a directory and its parents, durable; does nothing where it exists."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_directory(disk, path.parent)
