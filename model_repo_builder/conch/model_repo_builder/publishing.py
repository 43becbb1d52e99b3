"""Publishing a folder whole or not at all: staged beside its place, synced, renamed.

A staging folder is locked (`flock` on the folder itself) for as long as the process that fills it
lives, so the next publication beside it can tell a dead build's remains from a live build.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .errors import OutputExistsError

STAGING_PREFIX: Final = ".staging-"


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `output` when the block ends without an error.

    Raises:
        OutputExistsError: `output` exists, before or after the block.
    """
    if output.exists():
        raise _taken(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output.parent)
    staging, lock = _open_staging(output)
    try:
        yield staging
        _sync(staging)
        try:
            staging.rename(output)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise _taken(output) from error
            raise
        _sync_folder(output.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def remove_leftovers(folder: Path) -> tuple[Path, ...]:
    """Remove the staging folders in `folder` whose process is dead; return them."""
    removed = []
    for path in folder.glob(f"{STAGING_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(path)
            try:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
            finally:
                os.close(lock)
    return tuple(removed)


def _open_staging(output: Path) -> tuple[Path, int]:
    while True:
        staging = output.parent / f"{STAGING_PREFIX}{output.name}-{uuid.uuid4().hex[:8]}"
        staging.mkdir()
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(staging)
            if staging.exists():  # else a sweep took it between the two lines above
                return staging, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _taken(output: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{output} exists already.", hint="A version directory is never written twice."
    )
