"""Units stick to their arm, and a growing candidate only ever gains units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import (
    TOTAL_WEIGHT,
    Arm,
    InvalidValueError,
    Ordinal,
    SlotName,
    TrafficSplit,
    TritonName,
)


def split(weight: int, salt: str = "r1") -> TrafficSplit:
    candidate = Arm(slot=SlotName("b"), ordinal=Ordinal(2), build_id="new", weight=weight)
    live = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="old", weight=TOTAL_WEIGHT - weight)
    return TrafficSplit(model=TritonName("m"), arms=(candidate, live), salt=salt)


@given(st.text(), st.integers(0, TOTAL_WEIGHT), st.integers(0, TOTAL_WEIGHT))
def test_a_unit_in_the_candidate_stays_while_its_weight_grows(
    unit: str, one: int, two: int
) -> None:
    """Symmetric stickiness: nobody leaves the candidate on the way up."""
    low, high = sorted((one, two))
    if split(low).arm_of(unit).slot == "b":
        assert split(high).arm_of(unit).slot == "b"


def test_the_share_is_the_weight() -> None:
    """Of 20,000 units a 20 % arm gets 20 %, within four binomial standard errors."""
    count = sum(split(2_000).arm_of(f"user-{n}").slot == "b" for n in range(20_000))
    assert abs(count - 4_000) < 4 * (20_000 * 0.2 * 0.8) ** 0.5


def test_another_salt_picks_other_units() -> None:
    """The overlap of two 20 % arms is that of independent draws, within four standard errors."""
    both = sum(
        split(2_000).arm_of(f"u{n}").slot == split(2_000, "r2").arm_of(f"u{n}").slot == "b"
        for n in range(20_000)
    )
    assert abs(both - 800) < 4 * (20_000 * 0.04 * 0.96) ** 0.5


def test_splits_that_do_not_add_up_are_refused() -> None:
    """Weights are shares of a fixed total, one arm per slot."""
    arm = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="x", weight=9_999)
    with pytest.raises(InvalidValueError, match="9999"):
        TrafficSplit(model=TritonName("m"), arms=(arm,), salt="")
    half = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="x", weight=5_000)
    with pytest.raises(InvalidValueError, match="two arms"):
        TrafficSplit(model=TritonName("m"), arms=(half, half), salt="")


@pytest.mark.parametrize(("release", "stage"), [("r1", -1), ("", 1)])
def test_a_stage_belongs_to_a_release(release: str, stage: int) -> None:
    """Stages count from 0 within a release; without one there is none."""
    arm = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="x", weight=TOTAL_WEIGHT)
    with pytest.raises(InvalidValueError):
        TrafficSplit(model=TritonName("m"), arms=(arm,), salt="", release=release, stage=stage)
