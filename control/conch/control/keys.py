"""The administrator key: a file that only its owner reads, and a comparison in constant time."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from conch.core import ConchError

NAME: Final = "admin.key"
_ENTROPY_BYTES: Final = 32


class KeyMissingError(ConchError):
    """The home folder holds no administrator key."""

    code = "key-missing"


class KeyUnsafeError(ConchError):
    """The administrator key is empty, or can be read by others than its owner."""

    code = "key-unsafe"


def ensure_key(home: Path) -> str:
    """Return the home's key, making one where there is none; idempotent, also for two at once.

    Raises:
        KeyUnsafeError: The file that is there is empty or open to others.
    """
    path = home / NAME
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = home / f".{NAME}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"conch_{secrets.token_urlsafe(_ENTROPY_BYTES)}\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)  # unlike a rename, this never replaces another's key
        finally:
            fresh.unlink()
    return read_key(home)


def read_key(home: Path) -> str:
    """Return the home's key.

    Raises:
        KeyMissingError: There is none.
        KeyUnsafeError: The file is empty or open to others.
    """
    path = home / NAME
    try:
        mode = path.stat().st_mode
        key = path.read_text().strip()
    except FileNotFoundError as error:
        raise KeyMissingError(
            f"There is no administrator key in {home}.", hint="`conch up` makes one."
        ) from error
    if mode & 0o077:
        raise KeyUnsafeError(
            f"{path} can be read by others than its owner.", hint=f"Run `chmod 600 {path}`."
        )
    if not key:
        raise KeyUnsafeError(f"{path} is empty.", hint="Remove it and run `conch up` again.")
    return key


def same_key(given: str, expected: str) -> bool:
    """Compare two keys in a time that does not tell how much of them is equal."""
    return hmac.compare_digest(given.encode(), expected.encode())
