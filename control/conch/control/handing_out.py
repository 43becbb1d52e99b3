"""Handing a build's Triton repository out as a tar, with what proves it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from conch.core import ConchError
from conch.kserve.fetching import LISTING
from conch.kserve.serving.storing import served_folder
from conch.model_repo_builder import published_lines

_BLOCK_BYTES: Final = 1024 * 1024
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


class FileChangedError(ConchError):
    """A file of a published build changed while it was sent; the answer ends in the middle."""

    code = "build-file-changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """The repository that a cluster's servers are given of a build, ready to be sent.

    The tar starts with `LISTING`: the lines whose SHA-256 is the build's digest. The files follow
    under their paths in the build. So the receiver proves each of them by the digest alone, though
    it never gets the rest of the build.

    Attributes:
        lines: The listing.
        members: Each file with its tar header and its size in bytes.
    """

    lines: bytes
    members: tuple[tuple[Path, bytes, int], ...]

    @classmethod
    def of(cls, build: Path, digest: str) -> Self:
        """Prepare a published build; all of its files are read once to list their digests.

        Raises:
            DigestMismatchError: The files are not the published ones.
            CorruptArtefactError: There is a link or a device among them.
        """
        lines = published_lines(build, digest)
        files = sorted(path for path in served_folder(build).rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in files]
        headers = [
            _header(path.relative_to(build).as_posix(), size)
            for path, size in zip(files, sizes, strict=True)
        ]
        return cls(lines=lines, members=tuple(zip(files, headers, sizes, strict=True)))

    @property
    def size(self) -> int:
        """Bytes of the whole tar."""
        lines = len(_header(LISTING, len(self.lines))) + _padded(len(self.lines))
        files = sum(len(header) + _padded(size) for _, header, size in self.members)
        return lines + files + len(_END)

    def blocks(self) -> Iterator[bytes]:
        """Yield the tar; one block of a file is held at a time.

        Raises:
            FileChangedError: A file has another size than before.
        """
        yield _header(LISTING, len(self.lines)) + self.lines + _padding(len(self.lines))
        for path, header, size in self.members:
            yield header
            yield from _content(path, size)
            yield _padding(size)
        yield _END


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            block = file.read(min(_BLOCK_BYTES, left))
            if not block:
                raise FileChangedError(f"{path} ends {left} bytes before it should.")
            left -= len(block)
            yield block


def _header(name: str, size: int) -> bytes:
    """Return a file's header: equal builds give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(_padded(size) - size)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
