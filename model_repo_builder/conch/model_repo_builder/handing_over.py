"""A build's files while another user builds: what goes to the worker, what comes back from it.

A worker that is another user can neither enter conch's home nor own what it publishes. So the model
is laid out where it can read it, it builds into a folder of its own, and what it made is taken
over: copied file by file, nothing but files, owned by who conch is.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from .errors import CorruptArtefactError, OutputExistsError
from .publishing import staged
from .requests import BuildRequest

_OPEN_FOLDER: Final = 0o755
_OPEN_FILE: Final = 0o644


@contextmanager
def handed_over(
    request: BuildRequest, scratch: Path, numbers: tuple[int, int]
) -> Iterator[BuildRequest]:
    """Give the request that the worker gets, whose paths it can use; for `take_over` in the block.

    Args:
        request: The request.
        scratch: A folder that the worker can enter.
        numbers: The worker's user and group.

    Raises:
        OutputExistsError: `request.output` exists.
        CorruptArtefactError: The model holds something that is not a file.
    """
    if request.output.exists():
        raise OutputExistsError(
            f"{request.output} exists already.", hint="A version directory is never written twice."
        )
    shutil.rmtree(scratch / "build", ignore_errors=True)
    (scratch / "build").mkdir(mode=_OPEN_FOLDER)
    made = scratch / "build" / "out"
    made.mkdir()
    os.chown(made, *numbers)
    source = scratch / "build" / "model"
    lay_out(request.source, source)
    reference = request.reference
    if reference is not None:
        reference = scratch / "build" / reference.name
        lay_out_file(request.reference, reference)
    try:
        inner = made / request.output.name
        yield replace(request, source=source, output=inner, reference=reference)
    finally:
        shutil.rmtree(scratch / "build", ignore_errors=True)


def take_over(made: Path, output: Path) -> None:
    """Publish what a worker made at the place where it was asked for.

    Raises:
        OutputExistsError: `output` exists.
        CorruptArtefactError: The worker left something that is not a file.
    """
    with staged(output) as folder:
        _take(made, folder)


def used_bytes(folders: tuple[Path, ...]) -> int:
    """Return the bytes on disk below folders; what vanishes meanwhile does not count."""
    total = 0
    for folder in folders:
        for parent, _, files in os.walk(folder):
            for name in files:
                try:
                    total += os.lstat(os.path.join(parent, name)).st_blocks * 512
                except OSError:
                    continue
    return total


def lay_out(source: Path, into: Path) -> None:
    """Lay a folder out for others to read, by links where that is possible; links stay links."""
    into.mkdir(mode=_OPEN_FOLDER)
    with os.scandir(source) as entries:
        for entry in entries:
            path, target = Path(entry.path), into / entry.name
            if entry.is_symlink():
                target.symlink_to(os.readlink(path))  # the builder refuses it, in its own words
            elif entry.is_dir():
                lay_out(path, target)
            elif entry.is_file():
                lay_out_file(path, target)
            else:
                raise CorruptArtefactError(f"{path} is a device, not a file.")


def lay_out_file(path: Path | None, target: Path) -> None:
    assert path is not None
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
        try:
            os.link(path, target)
            return
        except OSError:  # another file system
            pass
    shutil.copyfile(path, target)
    target.chmod(_OPEN_FILE)


def _take(made: Path, into: Path) -> None:
    """Copy what a worker made; it may not lead us to a file that it could not read itself."""
    with os.scandir(made) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                (into / entry.name).mkdir()
                _take(Path(entry.path), into / entry.name)
                continue
            opened = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(opened, "rb") as file, (into / entry.name).open("xb") as target:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise CorruptArtefactError(f"The worker left {entry.name!r}, which is no file.")
                shutil.copyfileobj(file, target)
