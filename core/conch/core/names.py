"""Names and identities: what a registry calls a model, and what a server can call it."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

from .errors import InvalidValueError

ModelName = NewType("ModelName", str)
"""A registered model's name in MLflow: anything but `/` and `:`, up to 256 characters."""

TritonName = NewType("TritonName", str)
"""A model's name on the wire, in file paths and in Envoy's routes: `[A-Za-z0-9_-]`, 1 to 63."""

SlotName = NewType("SlotName", str)
"""A group of identical Triton servers: `a`, `b`, ..."""

Ordinal = NewType("Ordinal", int)
"""Triton's version directory: the ordinal of a build within its model, from 1, never reused."""

LONGEST: Final = 63
_DIGEST_LENGTH: Final = 8
_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9_-]+")


def triton_name(name: str) -> TritonName:
    """Return the name under which a registered model is served.

    A name that is already safe is kept. Any other is reduced to its safe characters and gets the
    first digits of its SHA-256, so that two registered names that look alike after the reduction
    still differ, and the same name gives the same answer on every machine.

    Raises:
        InvalidValueError: The name is empty, or holds `/`, `:` or a control character.

    >>> triton_name("digits")
    'digits'
    >>> triton_name("fraud détection v2")
    'fraud-d-tection-v2-1e2b95ea'
    """
    if not name or any(mark in name for mark in "/:") or any(ord(char) < 32 for char in name):
        raise InvalidValueError(
            f"{name!r} cannot name a registered model.",
            hint="Use 1 to 256 characters without '/', ':' and control characters.",
        )
    if len(name) <= LONGEST and "--" not in name and _SAFE.fullmatch(name):
        return TritonName(name)
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    stem = re.sub("-{2,}", "-", _UNSAFE_RUN.sub("-", name)).strip("-_")
    stem = stem[: LONGEST - _DIGEST_LENGTH - 1].rstrip("-_") or "model"
    return TritonName(f"{stem}-{digest}")
