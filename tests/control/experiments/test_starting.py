"""Who gets what in an experiment: shares and slots, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.deploying.comparing import seats_for
from conch.control.experiments import ArmAsked, ArmsInvalidError
from conch.control.experiments.commands import shares_of
from conch.control.state import Serving, ServingStatus
from conch.core import TOTAL_WEIGHT, SlotName

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SLOTS = tuple(map(SlotName, ("a", "b", "c")))
READY, FAILED, RETIRING = ServingStatus.READY, ServingStatus.FAILED, ServingStatus.RETIRING


def asked(*shares: int | None) -> list[ArmAsked]:
    return [ArmAsked(version=number, share=share) for number, share in enumerate(shares, 2)]


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (asked(None), {"b2": 5000, "b1": 5000}),
        (asked(None, None), {"b2": 3333, "b3": 3333, "b1": 3334}),
        (asked(1000), {"b2": 1000, "b1": 9000}),
        (asked(2500, 2500), {"b2": 2500, "b3": 2500, "b1": 5000}),
    ],
    ids=["two", "three", "ten percent", "by hand"],
)
def test_the_control_has_what_is_left(arms: list[ArmAsked], expected: dict[str, int]) -> None:
    """Equal where nobody says."""
    builds = [f"b{arm.version}" for arm in arms]
    assert shares_of(builds, arms, control="b1") == expected


@given(st.integers(1, 7))
def test_equal_shares_add_up(count: int) -> None:
    """Whatever the number of arms, to the last basis point and almost alike."""
    arms = asked(*[None] * count)
    shares = shares_of([f"b{arm.version}" for arm in arms], arms, control="b1")
    assert sum(shares.values()) == TOTAL_WEIGHT
    assert max(shares.values()) - min(shares.values()) <= count


@pytest.mark.parametrize(
    ("builds", "arms", "words"),
    [
        ([], [], "beside the live version"),
        (["b1"], asked(None), "same build"),
        (["b2", "b2"], asked(None, None), "same build"),
        (["b2", "b3"], asked(1000, None), "for every arm, or for none"),
        (["b2", "b3"], asked(5000, 5000), "100 % together"),
        (["b2"], asked(0), "0 % together"),
    ],
    ids=["none", "the control", "twice", "some", "nothing left", "nothing"],
)
def test_arms_that_cannot_be_compared_are_refused(
    builds: list[str], arms: list[ArmAsked], words: str
) -> None:
    """The message says what is wrong with them."""
    with pytest.raises(ArmsInvalidError, match=words):
        shares_of(builds, arms, control="b1")


def serving(build: str, slot: str, status: ServingStatus) -> Serving:
    return Serving(
        id=f"{build}{slot}",
        deployment_id="d",
        build_id=build,
        slot=SlotName(slot),
        status=status,
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("servings", "treatments", "expected"),
    [
        ([("b1", "a", READY)], ("b2", "b3"), {"b2": "b", "b3": "c"}),
        ([("b1", "b", READY)], ("b2",), {"b2": "a"}),
        ([("b1", "a", READY), ("b0", "b", READY)], ("b2",), {"b2": "c"}),
        ([("b1", "a", READY), ("b0", "b", READY)], ("b2", "b3"), {"b2": "c", "b3": "b"}),
        ([("b1", "a", READY), ("b2", "b", READY)], ("b2", "b3"), {"b3": "c"}),
        ([("b1", "a", READY), ("b2", "b", FAILED)], ("b2",), {"b2": "b"}),
        ([("b1", "a", READY), ("b2", "c", RETIRING)], ("b2", "b3"), {"b2": "c", "b3": "b"}),
        ([("b1", "a", READY)], ("b2", "b3", "b4"), None),
    ],
    ids=["empty", "first", "empty first", "loser", "loaded", "failed", "retiring", "too many"],
)
def test_every_treatment_gets_a_slot_of_its_own(
    servings: list[tuple[str, str, ServingStatus]],
    treatments: tuple[str, ...],
    expected: dict[str, str] | None,
) -> None:
    """Never the control's, and never one that another arm has."""
    held = [serving(*one) for one in servings]
    assert seats_for(held, control="b1", treatments=treatments, slots=SLOTS) == expected
