"""Taking a repository out of the archive that the control plane sends, file by proven file."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Protocol

from ..serving.storing import FLAVOURS
from .addresses import BuildAddress
from .errors import ArchiveError, DigestError, DiskError
from .listings import LARGEST_BYTES, LISTING, Listing

BLOCK_BYTES: Final = 1024 * 1024


class Stream(Protocol):
    """What is read once, from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes; none at the end.

        Raises:
            InterruptedFetchError: It broke.
        """


def receive(
    stream: Stream, address: BuildAddress, folder: Path, *, told: Callable[[str, int], None]
) -> Listing:
    """Write the repository in an archive into an empty folder.

    Only plain files that the proved listing names, of one flavour, are written: a link, a device, a
    path that leads elsewhere, or a file that comes twice is refused before a byte of it is. Folders
    and files get the modes of new ones, whatever the archive says.

    Args:
        stream: A tar.
        address: The build.
        folder: Takes the repository; on an error it may hold a part of it.
        told: Is given each block's file and size in bytes.

    Raises:
        ArchiveError: It is not the archive of a build's repository.
        DigestError: It is another build's, or a file differs.
        DiskError: A file cannot be written.
        InterruptedFetchError: The stream broke.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as archive:  # type: ignore[call-overload]  # any object with `read` will do
            listing = _listing(archive, address)
            due: dict[str, str] = {}
            flavour = ""
            while (member := archive.next()) is not None:
                if not flavour:
                    flavour, due = _begin(listing, member, address)
                name = member.name.removeprefix(f"{flavour}/")
                if not member.isreg() or member.name == name or name not in due:
                    raise ArchiveError(
                        f"{address.build_id} holds {member.name!r}, which is a link or device, "
                        "comes twice, or is no file of the repository that was begun."
                    )
                _take(archive, member, folder / name, due.pop(name), told)
    except tarfile.TarError as error:
        raise ArchiveError(f"What was sent is not a whole tar: {error}.") from error
    except OSError as error:
        raise disk_error(error, folder) from error
    if due or not flavour:
        missing = min(due, default="every file")
        raise ArchiveError(f"What was sent of {address.build_id} lacks {missing} and ends.")
    return listing


def _listing(archive: tarfile.TarFile, address: BuildAddress) -> Listing:
    first = archive.next()
    if first is None or first.name != LISTING or not first.isreg() or first.size > LARGEST_BYTES:
        raise ArchiveError(f"What was sent does not begin with {LISTING}.")
    return Listing.prove(_opened(archive, first).read(), address)


def _begin(
    listing: Listing, member: tarfile.TarInfo, address: BuildAddress
) -> tuple[str, dict[str, str]]:
    flavour = member.name.split("/")[0]
    due = listing.flavour(flavour) if flavour in FLAVOURS else {}
    if f"{address.model}/config.pbtxt" not in due:
        raise ArchiveError(
            f"{address.build_id} sends {member.name!r}, which begins no repository with a model "
            f"{address.model!r}."
        )
    return flavour, due


def _take(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    place: Path,
    digest: str,
    told: Callable[[str, int], None],
) -> None:
    found, source = hashlib.sha256(), _opened(archive, member)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        while block := source.read(BLOCK_BYTES):
            found.update(block)
            file.write(block)
            told(member.name, len(block))
    if found.hexdigest() != digest:
        raise DigestError(
            f"{member.name} has the digest {found.hexdigest()[:12]}..., the build's is "
            f"{digest[:12]}...."
        )


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(member)
    assert source is not None  # it is None for what is not a file
    return source


def disk_error(error: OSError, place: Path) -> DiskError:
    """Return the error to tell where a file cannot be written or read."""
    return DiskError(
        f"{place} cannot be written or read: {error.strerror or error}.",
        hint="Give the pod more ephemeral storage, or look at who may write there.",
    )
