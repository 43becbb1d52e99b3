"""One fetch from address to folder: look what is there, download, prove, place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .addresses import BuildAddress
from .downloading import ControlPlaneAccess, download
from .listings import Listing
from .placing import holds, place, staging
from .receiving import Stream, receive

_TELL_EVERY_S: Final = 5.0
_MIB: Final = 1024**2


def fetch(
    address: BuildAddress,
    folder: Path,
    access: ControlPlaneAccess,
    *,
    told: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Have a folder hold a build's repository, whole or not at all; again changes nothing.

    Where the folder holds the build already, the control plane is not asked.

    Args:
        address: The build.
        folder: The folder; made where it is not there.
        access: The control plane.
        told: Is told what is being done, a line at a time.
        sleep: Waits, in seconds.
        now: A clock that never goes back, in seconds.

    Returns:
        Whether anything was fetched.

    Raises:
        FetchError: It was not fetched; the folder is as it was before.
    """
    if holds(folder, address):
        told(f"{folder} holds {address.build_id} already, every file as published")
        return False
    told(f"fetching {address.build_id} of {address.model} from {access.url}")

    def attempt(stream: Stream) -> None:
        progress = _Progress(told=told, now=now)
        with staging(folder) as staged:
            listing: Listing = receive(stream, address, staged, told=progress)
            place(staged, listing, folder)
        told(f"placed {progress.words} in {folder}, digest {address.digest[:12]}...")

    download(access, address, attempt, told=told, sleep=sleep)
    return True


class _Progress:
    """Adds up what arrives and says so every few seconds."""

    def __init__(self, *, told: Callable[[str], None], now: Callable[[], float]) -> None:
        self._told = told
        self._now = now
        self._said = now()
        self._files: set[str] = set()
        self._bytes = 0

    def __call__(self, name: str, size: int) -> None:
        self._files.add(name)
        self._bytes += size
        if self._now() - self._said >= _TELL_EVERY_S:
            self._said = self._now()
            self._told(f"received {self.words}, now {name}")

    @property
    def words(self) -> str:
        """How much arrived."""
        return f"{len(self._files)} files, {self._bytes / _MIB:.1f} MiB"
