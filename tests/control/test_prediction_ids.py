"""Identities of predictions are UUIDs of version 7."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from conch.control.prediction_ids import new_prediction_id, uuid7

_MS = st.integers(0, 2**48 - 1)
_RANDOM = st.binary(min_size=10, max_size=10)


@given(ms=_MS, random=_RANDOM)
def test_fields_are_where_the_rfc_puts_them(ms: int, random: bytes) -> None:
    """48 bits of time, version 7 and the RFC's variant (RFC 9562, section 5.7)."""
    made = uuid7(ms, random)
    assert made.int >> 80 == ms
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


@given(earlier=_MS, later=_MS, first=_RANDOM, second=_RANDOM)
def test_they_sort_by_time(earlier: int, later: int, first: bytes, second: bytes) -> None:
    """The text of a later identity is greater, whatever the random part."""
    if earlier < later:
        assert str(uuid7(earlier, first)) < str(uuid7(later, second))


def test_two_are_never_the_same() -> None:
    """Identities made at once differ."""
    assert len({new_prediction_id() for _ in range(1000)}) == 1000
