"""The semantic version follows from what a caller can notice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import (
    DYNAMIC,
    FIRST,
    DType,
    InvalidValueError,
    SemanticVersion,
    Signature,
    TensorSpec,
    breaks_callers,
    next_version,
)

X = TensorSpec(name="x", dtype=DType.FP32, shape=(4,))
Y = TensorSpec(name="y", dtype=DType.FP32, shape=(2,))
BASE = Signature(inputs=(X,), outputs=(Y,))
EXTRA = TensorSpec(name="extra", dtype=DType.INT64, shape=(1,))


@pytest.mark.parametrize(
    ("after", "same_graph", "expected"),
    [
        pytest.param(BASE, True, "1.0.1", id="new weights"),
        pytest.param(BASE, False, "1.1.0", id="another graph"),
        pytest.param(replace(BASE, outputs=(Y, EXTRA)), False, "1.1.0", id="an output more"),
        pytest.param(
            replace(BASE, inputs=(X, replace(EXTRA, optional=True))), False, "1.1.0", id="optional"
        ),
        pytest.param(
            replace(BASE, inputs=(replace(X, shape=(DYNAMIC,)),)), False, "1.1.0", id="takes more"
        ),
        pytest.param(replace(BASE, inputs=(X, EXTRA)), False, "2.0.0", id="a required input more"),
        pytest.param(replace(BASE, inputs=()), False, "2.0.0", id="an input less"),
        pytest.param(
            replace(BASE, inputs=(replace(X, shape=(5,)),)), False, "2.0.0", id="another shape"
        ),
        pytest.param(
            replace(BASE, outputs=(replace(Y, shape=(DYNAMIC,)),)), False, "2.0.0", id="gives more"
        ),
        pytest.param(
            replace(BASE, outputs=(replace(Y, dtype=DType.FP64),)), False, "2.0.0", id="a dtype"
        ),
        pytest.param(replace(BASE, batched=False), False, "2.0.0", id="no batch"),
    ],
)
def test_each_change_has_its_level(after: Signature, same_graph: bool, expected: str) -> None:
    """MAJOR breaks callers, MINOR adds, PATCH is weights only."""
    found = next_version(FIRST, before=BASE, after=after, same_graph=same_graph)
    assert str(found) == expected


def test_the_first_version_is_1_0_0() -> None:
    """A model without a past starts at the beginning."""
    assert next_version(None, before=None, after=BASE, same_graph=False) == FIRST


@given(st.tuples(*[st.integers(0, 999)] * 3), st.tuples(*[st.integers(0, 999)] * 3))
def test_versions_order_as_numbers_and_survive_text(
    a: tuple[int, int, int], b: tuple[int, int, int]
) -> None:
    """1.10.0 is above 1.9.0, and parsing what was printed gives the same."""
    first, second = SemanticVersion(*a), SemanticVersion(*b)
    assert (first < second) == (a < b)
    assert SemanticVersion.parse(str(first)) == first


@pytest.mark.parametrize("text", ["1", "1.2", "1.2.3.4", "1.-2.3", "1.2.x", ""])
def test_text_that_is_no_version_is_refused(text: str) -> None:
    """Nothing but three numbers is a version."""
    with pytest.raises(InvalidValueError):
        SemanticVersion.parse(text)


def test_an_unchanged_signature_breaks_nobody() -> None:
    """The relation is reflexive."""
    assert not breaks_callers(BASE, BASE)
    assert Signature.from_dict(BASE.as_dict()) == BASE
