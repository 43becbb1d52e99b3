"""The digest of a folder: SHA-256 over the names and contents of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from .errors import CorruptArtefactError

_BLOCK_BYTES = 1024 * 1024


def folder_digest(folder: Path, *, without: Collection[str] = ()) -> str:
    """Return the SHA-256 over a folder's files, hexadecimal.

    It is the SHA-256 of one line `<sha256 of the content>  <relative path>\\n` per file in the
    order of the paths' UTF-8 bytes, so that `sha256sum` can reproduce it. Empty folders, times and
    permissions do not count.

    Args:
        folder: The folder.
        without: Relative paths to leave out.

    Raises:
        CorruptArtefactError: The folder holds a link or something that is not a file.
    """
    found = hashlib.sha256()
    for line in folder_lines(folder, without=without):
        found.update(line.encode())
    return found.hexdigest()


def folder_lines(folder: Path, *, without: Collection[str] = ()) -> Iterator[str]:
    """Yield the lines of which `folder_digest` is the SHA-256; each file is read for its own.

    Whoever has the lines and the digest can prove any part of the folder without the rest.

    Args:
        folder: The folder.
        without: Relative paths to leave out.

    Raises:
        CorruptArtefactError: The folder holds a link or something that is not a file.
    """
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for name in sorted(names, key=str.encode):
        path = names[name]
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise CorruptArtefactError(f"{path} is a link or a device, not a file.")
        if path.is_file() and name not in without:
            yield f"{file_digest(path)}  {name}\n"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()
