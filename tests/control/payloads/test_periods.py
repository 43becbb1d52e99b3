"""A moment belongs to a division of traffic only where that is certain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conch.control.payloads import Periods
from conch.core import Arm, Ordinal, SlotName, TrafficSplit, TritonName

MODEL = TritonName("digits")
MARGIN_S = 2.0


def split(stage: int) -> TrafficSplit:
    """Return the division of a stage."""
    arm = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="one", weight=10_000)
    return TrafficSplit(model=MODEL, arms=(arm,), salt="s", release="r", stage=stage)


@given(
    lasting=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=8),
    moving=st.lists(st.floats(0.0, 5.0), min_size=8, max_size=8),
    looks=st.lists(st.floats(0.05, 4.0), min_size=1, max_size=120),
    at=st.lists(st.floats(0.0, 200.0), min_size=1, max_size=20),
    skew_s=st.floats(-MARGIN_S, MARGIN_S),
)
def test_what_is_found_was_in_force(
    lasting: list[float], moving: list[float], looks: list[float], at: list[float], skew_s: float
) -> None:
    """However looks fall, and with clocks that differ by the margin: never a wrong stage."""
    truth: list[tuple[float, float, int]] = []
    time_s = 0.0
    for stage, (lasts, moves) in enumerate(zip(lasting, moving, strict=False)):
        truth.append((time_s, time_s + lasts, stage))
        time_s += lasts + moves

    def in_force(moment_s: float) -> int | None:
        return next((n for begin, end, n in truth if begin <= moment_s < end), None)

    periods = Periods(margin_s=MARGIN_S)
    now_s = 0.0
    for step in looks:
        now_s += step
        shown = in_force(now_s)
        periods.look({} if shown is None else {MODEL: split(shown)}, now_s)
    for moment_s in at:
        found = periods.find(MODEL, moment_s + skew_s)
        if found is not None:
            assert found.stage == in_force(moment_s)
            assert moment_s + skew_s <= now_s - MARGIN_S


def test_another_look_at_the_same_division_goes_on_with_it() -> None:
    """And the margins at both ends belong to nobody."""
    periods = Periods(margin_s=MARGIN_S)
    for second in range(11):
        periods.look({MODEL: split(3)}, 100.0 + second)
    found = {at: periods.find(MODEL, at) for at in (101.9, 102.0, 108.0, 108.1)}
    assert [one is not None for one in found.values()] == [False, True, True, False]
    assert periods.find(TritonName("other"), 105.0) is None
