"""Putting a proven repository into the folder that servers read, and knowing it again.

The folder is a mount, so that it cannot be renamed as a whole. The repository is staged in a hidden
folder within it; the listing is moved in first and then each model's folder. A server starts only
after the program has ended well. Where a run was killed in between, the listing that it left says
which names are its own, and the next run puts them right.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..serving.storing import FLAVOURS
from .addresses import BuildAddress
from .errors import ArchiveError, DestinationError, DigestError
from .listings import Listing
from .receiving import BLOCK_BYTES, disk_error

MARK: Final = ".conch-digests"
"""The listing of the build that the folder holds; servers look at folders only."""

_STAGING: Final = ".conch-fetch-"
_NOBODYS: Final = "lost+found"


def holds(folder: Path, address: BuildAddress) -> bool:
    """Tell whether a folder holds the build whole; every file is read. Removes half of one.

    Raises:
        DestinationError: It holds something that was not fetched from this address.
        DiskError: It cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{_STAGING}*"):
            shutil.rmtree(leftover)
        there = {path.name for path in folder.iterdir()} - {MARK, _NOBODYS}
        listing = _listing(folder, address)
        if there - (listing.tops if listing else frozenset()):
            raise DestinationError(
                f"{folder} holds {', '.join(sorted(there)[:5])}, which is not {address.build_id}.",
                hint="Name an empty folder.",
            )
        if listing is None:
            return False
        found = {
            name: digest for top in there for name, digest in _digests(folder / top, folder).items()
        }
        if any(found == listing.flavour(flavour) for flavour in FLAVOURS):
            return True
        for top in there:
            _remove(folder / top)
        (folder / MARK).unlink()
    except OSError as error:
        raise disk_error(error, folder) from error
    return False


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give an empty folder within another, for the block.

    Raises:
        DiskError: It cannot be made.
    """
    try:
        fresh = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def place(staged: Path, listing: Listing, folder: Path) -> None:
    """Move a staged repository into its folder.

    Raises:
        DiskError: A part of it cannot be moved; the next run removes what was.
    """
    tops = sorted(staged.iterdir())
    try:
        (staged / MARK).write_bytes(listing.text)
        (staged / MARK).rename(folder / MARK)
        for top in tops:
            top.rename(folder / top.name)
    except OSError as error:
        raise disk_error(error, folder) from error


def _listing(folder: Path, address: BuildAddress) -> Listing | None:
    """Return the listing that an earlier run left; None where there is none of this build's."""
    try:
        return Listing.prove((folder / MARK).read_bytes(), address)
    except FileNotFoundError:
        return None
    except (DigestError, ArchiveError):
        if {path.name for path in folder.iterdir()} - {_NOBODYS} == {MARK}:
            (folder / MARK).unlink()  # cut off before anything was moved
        return None


def _digests(path: Path, folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file at or below a path; of what is no file, none that fits."""
    found = {}
    for each in (path, *path.rglob("*")):
        if each.is_symlink() or not (each.is_dir() or each.is_file()):
            found[each.relative_to(folder).as_posix()] = ""
        elif each.is_file():
            digest = hashlib.sha256()
            with each.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
            found[each.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
