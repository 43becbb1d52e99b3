"""GrowthBook's assignment hash, versions 1 and 2, one at a time and in bulk.

FNV-1a with 32 bits over UTF-16 code units, as the JavaScript SDK computes it (the Python SDK
takes code points, which differ above U+FFFF). Version 2 hashes twice and keeps 4 decimals; version
1 hashes once, keeps 3 decimals and is biased between experiments that run in parallel: use it only
to agree with what another system has already assigned.

Source: GrowthBook SDK specification 0.7.1, "Hashing".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidStatisticError

HashVersion = Literal[1, 2]

FNV_OFFSET: Final = 0x811C9DC5
FNV_PRIME: Final = 0x01000193
_MASK: Final = 0xFFFFFFFF


def fnv1a32(text: str, state: int = FNV_OFFSET) -> int:
    """Return the 32-bit FNV-1a of a text's UTF-16 code units.

    >>> fnv1a32("a")
    3826002220
    """
    for unit in _code_units(text):
        state = ((state ^ unit) * FNV_PRIME) & _MASK
    return state


def bucket(seed: str, value: str, version: int = 2) -> float:
    """Return where a value falls in [0, 1) under a seed.

    Args:
        seed: Separates experiments from each other.
        value: The unit's id.
        version: 2, or 1 for agreement with older assignments.

    Raises:
        InvalidStatisticError: The version is neither 1 nor 2.

    >>> bucket("seed", "b")
    0.2696
    >>> bucket("", "a", version=1)
    0.22
    """
    if version == 2:
        return fnv1a32(str(fnv1a32(seed + value))) % 10_000 / 10_000
    if version == 1:
        return fnv1a32(value + seed) % 1_000 / 1_000
    raise InvalidStatisticError(f"Hash version {version} is unknown.", hint="Use 1 or 2.")


def buckets(seed: str, values: Sequence[str], version: HashVersion = 2) -> NDArray[np.float64]:
    """Return `bucket` for many values: float64[len(values)].

    >>> buckets("seed", ["a", "b", "ab"]).tolist() == [bucket("seed", v) for v in ("a", "b", "ab")]
    True
    """
    units, lengths = _code_unit_matrix(values)
    if version == 2:
        start = np.full(len(values), fnv1a32(seed), dtype=np.uint32)
        return (_fold_decimal(_fold(units, lengths, start)) % 10_000) / 10_000
    if version == 1:
        start = np.full(len(values), FNV_OFFSET, dtype=np.uint32)
        state = _fold(units, lengths, start)
        for unit in _code_units(seed):
            state = (state ^ np.uint32(unit)) * np.uint32(FNV_PRIME)
        return (state % 1_000) / 1_000
    raise InvalidStatisticError(f"Hash version {version} is unknown.", hint="Use 1 or 2.")


def _code_units(text: str) -> Sequence[int]:
    if text.isascii():
        return text.encode("ascii")
    encoded = text.encode("utf-16-le", "surrogatepass")
    return [low | high << 8 for low, high in zip(encoded[::2], encoded[1::2], strict=True)]


def _code_unit_matrix(values: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Return code units, one column per position (uint32[width, n]), and lengths (intp[n])."""
    lengths = np.fromiter(map(len, values), dtype=np.intp, count=len(values))
    width = int(lengths.max(initial=0))
    if not width:
        return np.zeros((0, len(values)), dtype=np.uint32), lengths
    points = np.array(values, dtype=f"<U{width}").view(np.uint32).reshape(len(values), width)
    if int(points.max()) > 0xFFFF:  # some value needs surrogate pairs
        rows = [list(_code_units(value)) for value in values]
        lengths = np.fromiter(map(len, rows), dtype=np.intp, count=len(rows))
        points = np.zeros((len(rows), int(lengths.max())), dtype=np.uint32)
        for row, units in zip(points, rows, strict=True):
            row[: len(units)] = units
    return np.ascontiguousarray(points.T), lengths


def _fold(
    units: NDArray[np.uint32], lengths: NDArray[np.intp], state: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    prime = np.uint32(FNV_PRIME)
    shortest = int(lengths.min(initial=0))
    for position, column in enumerate(units):
        folded = (state ^ column) * prime
        state = folded if position < shortest else np.where(position < lengths, folded, state)
    return state


def _fold_decimal(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the FNV-1a of each number written in decimal."""
    state = np.full(numbers.shape, FNV_OFFSET, dtype=np.uint32)
    prime, zero = np.uint32(FNV_PRIME), np.uint32(ord("0"))
    for exponent in range(9, -1, -1):
        power = np.uint32(10**exponent)
        leading = numbers // power
        folded = (state ^ (leading % np.uint32(10) + zero)) * prime
        state = folded if exponent == 0 else np.where(leading > 0, folded, state)
    return state
