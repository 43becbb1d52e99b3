"""Names from the registry become names that a server, a path and a route can carry."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import InvalidValueError, triton_name
from conch.core.names import LONGEST

REGISTERED = st.text(min_size=1, max_size=256).filter(
    lambda name: not any(mark in name for mark in "/:") and not any(ord(c) < 32 for c in name)
)


@given(REGISTERED)
def test_every_registered_name_becomes_a_safe_one(name: str) -> None:
    """Safe characters only, short enough, and the same every time."""
    found = triton_name(name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", found)
    assert len(found) <= LONGEST
    assert triton_name(name) == found


@given(REGISTERED, REGISTERED)
def test_two_names_never_become_one(one: str, two: str) -> None:
    """What the reduction drops, the digest tells apart."""
    assert (triton_name(one) == triton_name(two)) == (one == two)


@pytest.mark.parametrize("name", ["digits", "fraud_v2", "A-1"])
def test_a_safe_name_is_kept(name: str) -> None:
    """People find their model under the name they gave it."""
    assert triton_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "../../etc", "a:b", "a\nb"])
def test_what_no_registry_accepts_is_refused(name: str) -> None:
    """Separators and control characters never reach a path."""
    with pytest.raises(InvalidValueError):
        triton_name(name)
