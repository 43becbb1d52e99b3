"""The listing of a build's files, which the digest in its address proves.

A build's digest is the SHA-256 of one line `<SHA-256>  <path>` per file. With those lines and the
digest, any file of the build is proved alone: the listing by the digest, the file by its line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Self

from ..serving.storing import FLAVOURS
from .addresses import BuildAddress
from .errors import ArchiveError, DigestError

LISTING: Final = "digests.txt"
"""Its name in the archive that the control plane sends."""

LARGEST_BYTES: Final = 64 * 1024**2
"""More than half a million files: no build has so many."""

_LINE: Final = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\0]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a build holds.

    Attributes:
        text: The lines as they were given.
        files: SHA-256 by path within the build.
    """

    text: bytes
    files: Mapping[str, str]

    @classmethod
    def prove(cls, text: bytes, address: BuildAddress) -> Self:
        """Read the listing of the build at an address.

        Raises:
            DigestError: It is the listing of something else.
            ArchiveError: It is no listing, or names paths that lead out of the build.
        """
        found = hashlib.sha256(text).hexdigest()
        if found != address.digest:
            raise DigestError(
                f"What was sent as {address.model}/{address.build_id} has the digest "
                f"{found[:12]}..., the address says {address.digest[:12]}....",
                hint="The build's files, or the address, are not the verified ones.",
            )
        files = dict(
            map(_entry, text.decode(errors="surrogateescape").removesuffix("\n").split("\n"))
        )
        return cls(text=text, files=files)

    def flavour(self, name: str) -> dict[str, str]:
        """Return the files of one of the build's repositories: SHA-256 by path within it."""
        start = f"{name}/"
        return {
            path.removeprefix(start): digest
            for path, digest in self.files.items()
            if path.startswith(start)
        }

    @property
    def tops(self) -> frozenset[str]:
        """Names that any of the build's repositories has at its top."""
        return frozenset(
            path.split("/")[0] for flavour in FLAVOURS for path in self.flavour(flavour)
        )


def _entry(line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ArchiveError(f"The listing has the line {line[:80]!r}, which names no file.")
    name = match["name"]
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "/".join(parts) != name:
        raise ArchiveError(f"The listing names {name!r}, which leads out of the build.")
    return name, match["digest"]
