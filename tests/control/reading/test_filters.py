"""Filters read what a person types, and keep what they say."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.reading import read_metric_filter, read_tag_filter
from conch.core import InvalidValueError

_SIGNS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(sign=st.sampled_from(sorted(_SIGNS)), bound=_NUMBERS, value=_NUMBERS)
def test_a_metric_filter_compares_as_its_sign_says(sign: str, bound: float, value: float) -> None:
    """Each sign means what it means everywhere, for every pair of numbers."""
    found = read_metric_filter(f"val_accuracy {sign} {bound!r}")
    assert found.keeps({"val_accuracy": value}) == _SIGNS[sign](value, bound)
    assert not found.keeps({"val_accuracy_2": value})


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy>=", ">=1", "a>=b", "a>=1 2", " = 1"])
def test_what_is_no_metric_filter_is_refused(text: str) -> None:
    """Nothing that cannot be read is taken for a filter that keeps everything."""
    with pytest.raises(InvalidValueError, match="not a metric filter"):
        read_metric_filter(text)


def test_a_tag_filter_asks_for_a_value_or_for_any() -> None:
    """`key=value` wants that value, `key=` the empty one, `key` any."""
    tags = {"team": "fraud", "empty": ""}
    assert read_tag_filter("team=fraud").keeps(tags)
    assert not read_tag_filter("team=frau").keeps(tags)
    assert read_tag_filter("team").keeps(tags)
    assert not read_tag_filter("absent").keeps(tags)
    assert read_tag_filter("empty=").keeps(tags)
    assert not read_tag_filter("team=").keeps(tags)
    with pytest.raises(InvalidValueError):
        read_tag_filter("=fraud")
