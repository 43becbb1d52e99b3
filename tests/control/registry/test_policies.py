"""Take-up policies: what they cover and what they refuse to be."""

from __future__ import annotations

import pytest

from conch.control.registry import TakeUpMode, TakeUpPolicy
from conch.core import InvalidValueError


@pytest.mark.parametrize(
    ("include", "exclude", "name", "covered"),
    [
        (("*",), (), "anything at all", True),
        (("fraud-*",), (), "fraud-eu", True),
        (("fraud-*",), (), "Fraud-eu", False),
        (("a", "b"), (), "b", True),
        (("*",), ("*-test",), "fraud-test", False),
        ((), (), "fraud", False),
    ],
    ids=["all", "pattern", "case", "either", "excluded", "none"],
)
def test_patterns_of_names(
    include: tuple[str, ...], exclude: tuple[str, ...], name: str, covered: bool
) -> None:
    """A model is covered where it matches one pattern to include and none to exclude."""
    assert TakeUpPolicy(include=include, exclude=exclude).covers(name) is covered


@pytest.mark.parametrize(
    "policy",
    [
        {"mode": TakeUpMode.ALIAS, "alias": ""},
        {"mode": TakeUpMode.TAG, "tag_key": ""},
        {"mode": TakeUpMode.TAG, "tag_key": "conch.status"},
        {"mode": TakeUpMode.TAG, "tag_key": "triton.deploy"},
    ],
    ids=["no alias", "no tag", "own tag", "serving option"],
)
def test_policies_that_could_not_work_are_refused(policy: dict[str, str]) -> None:
    """A policy without a mark to look for, or by a tag that means something else, is an error."""
    with pytest.raises(InvalidValueError):
        TakeUpPolicy(**policy)  # type: ignore[arg-type]
