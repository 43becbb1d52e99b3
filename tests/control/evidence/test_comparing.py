"""Two answers to one request: when they disagree, and what many pairs come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counted_releases import MODEL, NOW, QUESTION, RELEASE, Lines

from conch.control.evidence.comparing import Comparison, compare
from conch.control.evidence.following import Follower
from conch.control.evidence.gathering import LogEvidence
from conch.events import EventLog, Prediction


@pytest.mark.parametrize(
    ("live", "candidate", "kind", "distance"),
    [
        ([[0.1, 0.9]], [[0.4, 0.6]], "", 0.3),
        ([[0.1, 0.9]], [[0.6, 0.4]], "label", 0.5),
        ([[0.1, 0.9], [0.9, 0.1]], [[0.1, 0.9], [0.1, 0.9]], "label", 0.8),
        ([3, 4], [3, 4], "", None),
        ([3, 4], [3, 5], "label", None),
        ([["cat"]], [["dog"]], "label", None),
        ([[10.0]], [[10.4]], "", 0.4),
        ([[10.0]], [[10.6]], "distance", 0.6),
        ([0.0], [0.04], "", 0.04),
        ([0.0], [0.06], "distance", 0.06),
        ([[1.0, None]], [[1.0, None]], "", 0.0),
        ([[1.0, None]], [[1.0, 2.0]], "distance", None),
        ([[1.0]], [[1.0, 2.0]], "shape", None),
        ([[1.0]], None, "shape", None),
    ],
)
def test_pairs(live: Any, candidate: Any, kind: str, distance: float | None) -> None:
    """Labels must be equal, other numbers close, shapes the same."""
    other = {} if candidate is None else {"y": candidate}
    verdict = compare({"y": live}, other)
    assert verdict.kind == kind
    assert verdict.label == (kind == "label")
    assert verdict.distance == (None if distance is None else pytest.approx(distance))


def answer(number: int, output: Any, *, shadow: bool = False, **changes: Any) -> Prediction:
    """Return one side of a mirrored request."""
    one = Prediction(
        event_id=f"shadow-q{number}" if shadow else f"q{number}",
        occurred_at=NOW + number,
        received_at=NOW + number,
        model=MODEL,
        slot="b" if shadow else "a",
        ordinal=2 if shadow else 1,
        features={"x": [[float(number)]]},
        output=output,
        release=RELEASE if shadow else "",
        latency_ms=4.0 if shadow else 2.0,
        request_id=f"q{number}",
    )
    return replace(one, **changes)


SAME, OTHER = {"y": [[0.1, 0.9]]}, {"y": [[0.8, 0.2]]}


def test_what_many_pairs_come_to(tmp_path: Path) -> None:
    """Through the log, in any order of the two sides, and again after a restart."""
    events = [
        answer(1, SAME),
        answer(1, SAME, shadow=True),
        answer(2, OTHER, shadow=True),  # the copy may be answered first
        answer(2, SAME),
        answer(3, SAME),
        answer(3, None, shadow=True),
        answer(4, None),
        answer(4, SAME, shadow=True),
        answer(5, None),
        answer(5, None, shadow=True),
        answer(6, SAME, features=None, features_ref="too large"),
        answer(6, SAME, shadow=True),
        answer(7, SAME, shadow=True),  # its other side never comes
        answer(8, SAME),
        answer(8, OTHER, shadow=True, release="another"),
        answer(9, SAME, model="another"),
        answer(60, SAME),
    ]
    with EventLog(tmp_path / "log") as log:
        log.append(events)
        for _ in range(2):
            follower = Follower(
                log=log, reader=Lines(), folder=tmp_path / "counted", clock=lambda: NOW + 60
            )
            evidence = LogEvidence(lambda follower=follower: follower)  # type: ignore[misc]
            question = replace(QUESTION, stages=())  # nobody has met the candidate yet
            evidence.shadow(question)
            follower.run()
            seen = evidence.shadow(question)
            follower.close()
            assert seen is not None
            assert (seen.pairs, seen.unpaired) == (5, 2)
            assert (seen.disagreements, seen.labels_differ) == (2, 1)
            assert (seen.candidate_errors, seen.live_errors) == (1, 1)
            assert seen.worst_distance == pytest.approx(0.7)
            assert [one.kind for one in seen.worst] == ["error", "label"]
            assert seen.worst[1].inputs == {"x": [[2.0]]}
            assert (seen.worst[1].live, seen.worst[1].candidate) == (SAME, OTHER)
            assert seen.live_ms["p50"] == pytest.approx(2.0, rel=0.05)
            assert seen.candidate_ms["p99"] == pytest.approx(4.0, rel=0.05)
            assert seen.since_s == NOW + 1
            assert seen.disagreement_rate == 0.4


def test_only_the_worst_are_shown() -> None:
    """However many disagree, a few are kept: those that differ most."""
    comparison = Comparison(RELEASE, MODEL, next_offset=0)
    for number in range(200):
        comparison.take(answer(number, {"y": [[0.0]]}))
        comparison.take(answer(number, {"y": [[float(number + 1)]]}, shadow=True))
    seen = comparison.summary(cut_s=NOW)
    assert (seen.pairs, seen.disagreements, len(seen.worst)) == (200, 200, 20)
    assert seen.worst[0].distance == 200.0
    assert seen.worst[-1].distance == 181.0
