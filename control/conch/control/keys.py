"""Keys: files in the home that only their owner reads, and a comparison in constant time.

The administrator key opens the API, the webhook secret signs what MLflow sends, with the next key
conch's own MLflow server encrypts that secret in its database, and the fetch key opens nothing but
the files of builds, for servers on a cluster.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from conch.core import ConchError

NAME: Final = "admin.key"
WEBHOOK_NAME: Final = "webhook.secret"
ENCRYPTION_NAME: Final = "mlflow.key"
FETCH_NAME: Final = "fetch.key"
_ENTROPY_BYTES: Final = 32

_MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    NAME: lambda: f"conch_{secrets.token_urlsafe(_ENTROPY_BYTES)}",
    WEBHOOK_NAME: lambda: secrets.token_hex(_ENTROPY_BYTES),
    # A Fernet key: 32 bytes in URL-safe base64 (github.com/fernet/spec).
    ENCRYPTION_NAME: lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    FETCH_NAME: lambda: f"conch_fetch_{secrets.token_urlsafe(_ENTROPY_BYTES)}",
}

KEY_NAMES: Final = tuple(_MAKERS)
"""The files of all keys."""


class KeyMissingError(ConchError):
    """The home folder does not hold the key."""

    code = "key-missing"


class KeyUnsafeError(ConchError):
    """A key is empty, or can be read by others than its owner."""

    code = "key-unsafe"


def ensure_key(home: Path, name: str = NAME) -> str:
    """Return a key of the home, making one where there is none; idempotent, also for two at once.

    Args:
        home: The home folder.
        name: One of `KEY_NAMES`; the administrator key unless said otherwise.

    Raises:
        KeyUnsafeError: The file that is there is empty or open to others.
    """
    path = home / name
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = home / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{_MAKERS[name]()}\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)  # unlike a rename, this never replaces another's key
        finally:
            fresh.unlink()
    return read_key(home, name)


def read_key(home: Path, name: str = NAME) -> str:
    """Return a key of the home; see `ensure_key`.

    Raises:
        KeyMissingError: There is none.
        KeyUnsafeError: The file is empty or open to others.
    """
    path = home / name
    try:
        mode = path.stat().st_mode
        key = path.read_text().strip()
    except FileNotFoundError as error:
        raise KeyMissingError(
            f"There is no {name} in {home}.", hint="`conch up` makes one."
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
