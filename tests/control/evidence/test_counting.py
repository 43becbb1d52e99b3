"""Releases counted from the event log: as brute force counts them, whatever interrupts it."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from counted_releases import (
    NOW,
    PLAN,
    QUESTION,
    RELEASE,
    Lines,
    brute_force,
    exposure,
    happened,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from conch.ab import Counts, Evidence, Histogram, Moments, Statistic
from conch.control.evidence import EvidenceUnavailableError
from conch.control.evidence.following import WRITTEN_S, Follower
from conch.control.evidence.gathering import LogEvidence
from conch.events import Event, EventLog, LogSettings


class Counting:
    """A follower over a real log, with a clock that stands still; may be started anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.now_s = NOW
        self.log = EventLog(folder / "log")
        self._start()

    def _start(self) -> None:
        self.follower = Follower(
            log=self.log, reader=Lines(), folder=self._folder / "evidence", clock=lambda: self.now_s
        )
        self.evidence = LogEvidence(lambda: self.follower)

    def restart(self) -> None:
        """End the process without a word and start it again."""
        self.follower.close()
        self.log.close()
        self.log = EventLog(self._folder / "log")
        self._start()
        self.evidence.follow(QUESTION)

    def gather(self) -> Evidence:
        """Count what is there and return it."""
        self.follower.run()
        return self.evidence.gather(QUESTION)

    def close(self) -> None:
        """Let go of the files."""
        self.follower.close()
        self.log.close()


@pytest.fixture
def counting(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A follower that was asked to follow the release."""
    counting = Counting(tmp_path)
    counting.evidence.follow(QUESTION)
    yield counting
    counting.close()


def agree(found: Statistic, expected: Statistic) -> bool:
    """Tell whether two statistics are equal up to the steps that values are counted in."""
    if isinstance(found, Histogram):
        return found == expected
    return type(found) is type(expected) and all(
        math.isclose(
            getattr(found, item.name), getattr(expected, item.name), rel_tol=1e-7, abs_tol=1e-5
        )
        for item in fields(found)
    )


def check(evidence: Evidence, events: list[Event]) -> None:
    """Compare evidence with brute force over the same events."""
    expected = brute_force(events, cut_s=evidence.cut_s)
    for number, stage in enumerate(evidence.stages):
        if number not in expected:
            assert (stage.control_units, stage.candidate_units) == (0, 0)
            continue
        control, candidate, statistics = expected[number]
        assert (stage.control_units, stage.candidate_units) == (control, candidate)
        for name, (one, other) in statistics.items():
            item = stage.of(name)
            assert item is not None
            assert agree(item.control, one), (name, item.control, one)
            assert agree(item.candidate, other), (name, item.candidate, other)


units = st.integers(0, 5)
times = st.floats(0, 60, allow_nan=False)
exposures = st.builds(
    lambda number, unit, at_s, status, grpc, latency_ms, release: exposure(
        number,
        f"u{unit}",
        at_s=at_s,
        candidate=unit % 2 == 1,
        stage=int(at_s >= 30),
        status=status,
        grpc_status=grpc,
        latency_ms=latency_ms,
        release=release,
    ),
    st.integers(0, 10**9),
    units,
    times,
    st.sampled_from([0, 200, 400, 500, 503]),
    st.sampled_from([None, 0, 3, 14]),
    st.sampled_from([0.25, 99.9, 100.0, 250.0]),
    st.sampled_from([RELEASE, RELEASE, RELEASE, "other", ""]),
)
metrics = st.builds(
    lambda number, unit, name, value, at_s: happened(number, f"u{unit}", name, value, at_s=at_s),
    st.integers(0, 10**9),
    units,
    st.sampled_from(["wrong", "spent", "unasked"]),
    st.sampled_from([0.0, 1.0, 0.1, -2.5, 1e6]),
    times,
)


@settings(max_examples=40, deadline=None)
@given(
    events=st.lists(st.one_of(exposures, metrics), max_size=40),
    cuts=st.lists(st.tuples(st.integers(1, 10), st.booleans()), max_size=12),
)
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[Event],
    cuts: list[tuple[int, bool]],
) -> None:
    """In any portions, with restarts between, the evidence is that of the whole set."""
    counting = Counting(tmp_path_factory.mktemp("counting"))
    # A metric event from before its unit's first request is early or not by what came first, so
    # here the exposures of a unit come first, as they do where people answer predictions.
    ordered = sorted(events, key=lambda one: one.kind)
    stored: dict[str, Event] = {}
    try:
        counting.evidence.follow(QUESTION)
        left = list(ordered)
        for size, restart in [*cuts, (len(left), True)]:
            portion, left = left[:size], left[size:]
            counting.log.append(portion)
            for one in portion:
                stored.setdefault(one.event_id, one)
            counting.now_s += 7
            counting.gather()
            if restart:
                counting.restart()
        found = counting.gather()
        check(found, list(stored.values()))
        assert counting.gather() == found
        counting.restart()
        assert counting.gather() == found
    finally:
        counting.close()


def test_many_units_are_counted_as_one_batch_would(counting: Counting) -> None:
    """Two thousand units over two stages and several batches."""
    events: list[Event] = []
    for number in range(6000):
        unit = number * 7919 % 2000
        stage = int(number >= 3000)
        events.append(
            exposure(
                number,
                f"u{unit}",
                at_s=number / 100,
                candidate=unit % 10 == 0,
                stage=stage,
                status=500 if number % 97 == 0 else 200,
                latency_ms=float(number % 150),
            )
        )
        if number % 5 == 0:
            events.append(
                happened(number, f"u{unit}", "spent", number / 10, at_s=number / 100 + 0.5)
            )
    for begin in range(0, len(events), 1000):
        counting.log.append(events[begin : begin + 1000])
    counting.now_s += 65
    check(counting.gather(), events)


def test_a_metric_event_may_come_before_its_exposure_is_read(counting: Counting) -> None:
    """The gateway's log is half a second late; an event that overtakes it is counted."""
    counting.log.append([happened(1, "u", "wrong", 1.0, at_s=2.0)])
    counting.gather()
    counting.restart()
    counting.log.append([exposure(1, "u", at_s=1.0)])
    stage = counting.gather().stages[0].of("wrong")
    assert stage is not None
    assert stage.control == Counts(units=1, events=1)


def test_events_count_in_the_stage_in_which_they_happened(counting: Counting) -> None:
    """An event is of the stage that its unit was in at that time, however late it arrives."""
    counting.log.append(
        [
            exposure(1, "u", at_s=1.0, stage=0),
            exposure(2, "u", at_s=31.0, stage=1),
            happened(1, "u", "spent", 5.0, at_s=20.0),
            happened(2, "u", "spent", 7.0, at_s=40.0),
            happened(3, "u", "spent", 9.0, at_s=0.5),  # before anything was predicted
        ]
    )
    spent = [stage.of("spent") for stage in counting.gather().stages]
    assert [item and item.control for item in spent] == [
        Moments(n=1, mean=5.0, m2=0.0),
        Moments(n=1, mean=7.0, m2=0.0),
    ]


def test_units_count_once_their_window_has_closed(counting: Counting) -> None:
    """With a window, both arms are cut at the same age; late events within it still count."""
    counting.log.append(
        [
            exposure(1, "early", at_s=0.0),
            exposure(2, "late", at_s=20.0, candidate=True),
            happened(1, "early", "spent", 3.0, at_s=9.0),
            happened(2, "early", "spent", 100.0, at_s=11.0),
        ]
    )
    counting.now_s = NOW + 10 + WRITTEN_S + 0.1
    first = counting.gather().stages[0].of("spent-in-time")
    assert first is not None
    assert (first.control, first.candidate) == (Moments(n=1, mean=3.0), Moments())
    counting.log.append([happened(3, "early", "spent", 1.0, at_s=5.0)])
    counting.now_s = NOW + 40
    then = counting.gather().stages[0].of("spent-in-time")
    assert then is not None
    assert (then.control, then.candidate) == (Moments(n=1, mean=4.0), Moments(n=1, mean=0.0))


def test_a_unit_that_met_both_arms_is_said(counting: Counting) -> None:
    """It is a unit of the arm that it met first; what it did in the other is not counted."""
    counting.log.append(
        [
            exposure(1, "u", at_s=1.0),
            exposure(2, "u", at_s=2.0, candidate=True, status=500),
            exposure(3, "u", at_s=3.0, candidate=True, status=500),
            exposure(4, "v", at_s=3.0, candidate=True),
        ]
    )
    found = counting.gather()
    assert found.exposed_to_both == 1
    assert (found.stages[0].control_units, found.stages[0].candidate_units) == (1, 1)
    errors = found.stages[0].of("errors")
    assert errors is not None
    assert errors.control == Counts(units=1, events=0)


def test_the_cut_follows_the_access_log(counting: Counting) -> None:
    """Data are complete up to when the log was last read, less the gateway's own delay."""
    assert counting.gather().cut_s == NOW - WRITTEN_S
    counting.now_s = NOW + 50
    assert counting.gather().cut_s == NOW + 50 - WRITTEN_S


def test_a_release_taken_up_later_is_counted_from_the_log(counting: Counting) -> None:
    """What was measured before anybody asked is found in the log; before that it is unavailable."""
    later = replace(QUESTION, release="r-2")
    counting.log.append(
        [exposure(number, f"u{number}", at_s=1.0, release="r-2") for number in range(5)]
    )
    counting.gather()
    with pytest.raises(EvidenceUnavailableError):
        counting.evidence.gather(later)
    counting.follower.run()
    assert counting.evidence.gather(later).stages[0].control_units == 5


def test_another_plan_is_counted_anew(counting: Counting) -> None:
    """A plan that measures something else does not inherit the counts of the former."""
    counting.log.append([exposure(1, "u", at_s=1.0, latency_ms=70.0)])
    counting.gather()
    metrics = tuple(replace(m, source="envoy:slow:50ms") for m in PLAN.metrics if m.name == "slow")
    changed = replace(QUESTION, plan=replace(PLAN, metrics=metrics))
    counting.evidence.follow(changed)
    counting.follower.run()
    slow = counting.evidence.gather(changed).stages[0].of("slow")
    assert slow is not None
    assert slow.control == Counts(units=1, events=1)


def test_events_dropped_before_they_were_counted_are_no_evidence(tmp_path: Path) -> None:
    """A hole in the log is said, never counted over."""
    small = LogSettings(segment_bytes=2_000, max_bytes=4_000)
    with EventLog(tmp_path / "log", settings=small) as log:
        follower = Follower(log=log, reader=Lines(), folder=tmp_path / "e", clock=lambda: NOW)
        evidence = LogEvidence(lambda: follower)
        evidence.follow(QUESTION)
        for number in range(60):
            log.append([exposure(number, f"u{number}", at_s=1.0)])
        assert log.first_offset > 0
        follower.run()
        with pytest.raises(EvidenceUnavailableError, match="not counted whole"):
            evidence.gather(QUESTION)
        follower.forget(RELEASE)
        follower.close()
    assert list((tmp_path / "e").iterdir()) == []


def test_counts_of_what_ended_while_nobody_looked_are_removed(tmp_path: Path) -> None:
    """With everything that SQLite keeps beside them; those of what is open stay."""
    folder = tmp_path / "counted"
    for release in (RELEASE, "other", "r/../[1]*"):
        with EventLog(tmp_path / "log") as log:
            follower = Follower(log=log, reader=Lines(), folder=folder, clock=lambda: NOW)
            for part in ("", "b"):
                asked = replace(QUESTION, release=release, part=part)
                LogEvidence(lambda: follower).follow(asked)  # noqa: B023
            follower.close()
    assert len(list(folder.glob("*.db"))) == 6
    with EventLog(tmp_path / "log") as log:
        follower = Follower(log=log, reader=Lines(), folder=folder, clock=lambda: NOW)
        follower.keep({RELEASE})
        assert {path.name.partition(".db")[0] for path in folder.iterdir()} == {
            RELEASE,
            f"{RELEASE}%7Eb",
        }
        follower.keep(())
    assert list(folder.iterdir()) == []


def test_what_cannot_be_stored_was_not_counted(counting: Counting) -> None:
    """When a table cannot be written, the counts and the position stay those on disk."""
    counting.log.append([exposure(1, "u", at_s=1.0)])
    before = counting.gather()
    table = counting.follower.follow(counting.follower._tables[RELEASE].definition, since_s=NOW)
    table._connection.execute("PRAGMA query_only = ON")
    counting.log.append([exposure(2, "v", at_s=2.0)])
    with pytest.raises(Exception, match="readonly"):
        counting.follower.run()
    table._connection.execute("PRAGMA query_only = OFF")
    assert counting.evidence.gather(QUESTION) == before
    after = counting.gather()
    assert after.stages[0].control_units == 2
    assert after.stages[0].candidate_units == 0
