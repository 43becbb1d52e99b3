"""The log's bounds on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from event_makers import exposure
from hypothesis import given
from hypothesis import strategies as st

from conch.core import InvalidValueError
from conch.events import EventLog, LogFullError, LogSettings, WhenFull
from conch.events.retention import plan_retention
from conch.events.segments import Segment

SMALL = LogSettings(segment_bytes=400, max_bytes=2000)


def fill(log: EventLog, count: int, start: int = 0) -> None:
    """Append events one by one."""
    for number in range(start, start + count):
        log.append([exposure(number)])


def on_disk(directory: Path) -> int:
    """Return the bytes of all segment files."""
    return sum(path.stat().st_size for path in directory.glob("*.seg"))


def test_size_drops_the_oldest(tmp_path: Path) -> None:
    """The log never takes more than its bytes; whole oldest segments go, the newest events stay."""
    with EventLog(tmp_path, settings=SMALL) as log:
        for number in range(60):
            log.append([exposure(number)])
            assert on_disk(tmp_path) == log.size_bytes <= SMALL.max_bytes
        kept = [s.event.event_id for s in log.read(log.first_offset)]

    assert kept == [f"e{number}" for number in range(log.first_offset, 60)]
    assert log.first_offset > 0


def test_size_refuses(tmp_path: Path) -> None:
    """A log told to refuse keeps everything and says that it is full; more room reopens it."""
    refusing = LogSettings(segment_bytes=400, max_bytes=2000, when_full=WhenFull.REFUSE)
    with EventLog(tmp_path, settings=refusing) as log:
        with pytest.raises(LogFullError) as full:
            fill(log, 60)
        assert full.value.retryable
        stored = log.next_offset
        assert log.first_offset == 0
        assert log.append([exposure(0)]).repeated == (True,)  # what is known needs no room
    with EventLog(tmp_path, settings=LogSettings(when_full=WhenFull.REFUSE)) as log:
        assert log.append([exposure(stored)]).offsets == (stored,)


def test_holds_keep_what_a_consumer_needs(tmp_path: Path) -> None:
    """Held events are never dropped: the log refuses instead, until the hold moves on."""
    with EventLog(tmp_path, settings=SMALL) as log:
        log.hold("slow", 0)
        log.hold("slower", 3)
        with pytest.raises(LogFullError):
            fill(log, 60)
        stored = log.next_offset
        assert log.first_offset == 0

        log.hold("slow", stored)
        log.hold("slower", stored)

        assert log.append([exposure(stored)]).offsets == (stored,)
        assert log.first_offset > 0


def test_age_drops_sealed_segments(tmp_path: Path) -> None:
    """A segment sealed longer ago than the age goes at the next write or seal."""
    now = [1000.0]
    bounds = LogSettings(max_age_s=100.0)
    with EventLog(tmp_path, settings=bounds, clock=lambda: now[0]) as log:
        fill(log, 3)
        now[0] = 1050.0
        log.seal()  # the first three: sealed at 1050
        fill(log, 3, start=3)
        now[0] = 1150.0
        log.append([exposure(6)])
        assert log.first_offset == 0  # exactly as old as allowed

        now[0] = 1150.5
        log.append([exposure(7)])

        assert log.first_offset == 3
        now[0] = 9999.0
        log.append([exposure(8)])
        assert log.first_offset == 3  # the open segment never goes


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_bytes": 0},
        {"segment_bytes": 600, "max_bytes": 1000},
        {"window_events": -1},
        {"max_waiting": 0},
        {"group_bytes": 10**9},
    ],
)
def test_impossible_settings(wrong: dict[str, int]) -> None:
    """Bounds that cannot be kept are refused."""
    with pytest.raises(InvalidValueError):
        LogSettings(**wrong)  # type: ignore[arg-type]


sizes = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), min_size=1, max_size=9)


@given(
    made=sizes,
    incoming=st.integers(0, 400),
    max_age_s=st.none() | st.integers(0, 800),
    held=st.none() | st.integers(0, 90),
    when_full=st.sampled_from(WhenFull),
)
def test_plan(
    made: list[tuple[int, int]],
    incoming: int,
    max_age_s: int | None,
    held: int | None,
    when_full: WhenFull,
) -> None:
    """What is dropped is the shortest prefix of sealed, unheld segments that the bounds ask for."""
    segments, at = [], 0.0
    for index, (length, gap) in enumerate(made):
        at += gap
        segments.append(
            Segment(path=Path("x"), first_offset=index * 10, created_at=at, length=length)
        )
    bounds = LogSettings(
        segment_bytes=300, max_bytes=1000, max_age_s=max_age_s, when_full=when_full
    )
    now = at + 100

    plan = plan_retention(segments, bounds, now=now, incoming_bytes=incoming, held_from=held)

    def acceptable(dropped: int) -> bool:
        rest = segments[dropped:]
        small = incoming + sum(segment.length for segment in rest) <= 1000
        sealed_at = [segment.created_at for segment in rest[1:]]
        young = max_age_s is None or not sealed_at or now - sealed_at[0] <= max_age_s
        return young and (small or when_full is WhenFull.REFUSE)

    may_drop = sum(1 for segment in segments[1:] if held is None or segment.first_offset <= held)
    wanted = [dropped for dropped in range(may_drop + 1) if acceptable(dropped)]
    assert len(plan.drop) == (wanted[0] if wanted else may_drop)
    assert list(plan.drop) == segments[: len(plan.drop)]
    rest = sum(segment.length for segment in segments[len(plan.drop) :])
    assert plan.fits == (incoming + rest <= 1000)
