"""Identities of predictions: UUIDs of version 7, which sort by time."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Final

PREDICTION_HEADER: Final = "x-conch-prediction"
"""The request header under which a captured prediction is kept, in place of the request's id."""


def new_prediction_id() -> str:
    """Return a fresh identity for one prediction."""
    return str(uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10)))


def uuid7(unix_ms: int, random: bytes) -> uuid.UUID:
    """Return the UUID of version 7 for a moment (RFC 9562, section 5.7).

    Args:
        unix_ms: Milliseconds since 1970, 48 bits.
        random: 10 bytes, of which 74 bits are used.

    >>> str(uuid7(0x017F22E279B0, bytes.fromhex("0cc3 18c4dc0c0c07398f")))
    '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'
    """
    rand_a = int.from_bytes(random[:2], "big") & 0x0FFF
    rand_b = int.from_bytes(random[2:10], "big") & ((1 << 62) - 1)
    value = unix_ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return uuid.UUID(int=value)
