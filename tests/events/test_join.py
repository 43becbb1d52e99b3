"""The join's rules, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from event_makers import exposure

from conch.core import ConflictError, InvalidValueError
from conch.events import (
    DeadLetter,
    Emission,
    Event,
    EventLog,
    Example,
    Feedback,
    Joiner,
    JoinRules,
    LateLabel,
    Prediction,
    Rejected,
    RejectedBecause,
    SourcePolicy,
    dump_join,
    join_events,
    load_join,
)
from conch.events.examples import Outcome

RULES = JoinRules(window_s=100, lateness_s=10, remember_s=50)


def predicted(name: str, at: float) -> Prediction:
    """Return a prediction."""
    return Prediction(
        event_id=name, occurred_at=at, received_at=at, model="m", slot="a", ordinal=1, output=name
    )


def told(name: str, about: str, at: float, label: Any = 1, **changes: Any) -> Feedback:
    """Return feedback."""
    fields: dict[str, Any] = {"source": "web", "label": label, **changes}
    return Feedback(event_id=name, prediction_id=about, observed_at=at, received_at=at, **fields)


def run(*events: Event, rules: JoinRules = RULES, flush: bool = True) -> list[Outcome]:
    """Join events and return all outcomes in order."""
    joiner = Joiner(rules)
    emissions = [emission for event in events for emission in joiner.apply(event)]
    emissions += joiner.flush() if flush else ()
    assert [emission.number for emission in emissions] == list(range(len(emissions)))
    return [emission.outcome for emission in emissions]


def labels(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the label of each example by prediction id."""
    return {o.prediction.event_id: o.label for o in outcomes if isinstance(o, Example)}


def test_example_when_its_window_has_closed() -> None:
    """An example comes once, when the watermark is past the end of its window; not before."""
    joiner = Joiner(RULES)
    joiner.apply(predicted("p", 1000))
    joiner.apply(told("f", "p", 1050, label="x"))

    assert joiner.apply(predicted("q", 1110)) == ()  # watermark 1100: the window's very end
    (emission,) = joiner.apply(predicted("r", 1111))

    assert isinstance(emission.outcome, Example)
    assert emission.outcome.prediction == predicted("p", 1000)
    assert (emission.outcome.label, emission.outcome.feedback_id) == ("x", "f")
    assert (emission.outcome.source, emission.outcome.heard) == ("web", 1)
    assert joiner.flush() == ()  # q and r have no label
    assert (joiner.counts.examples, joiner.counts.unlabelled) == (1, 2)


def test_both_ends_of_the_window_count() -> None:
    """Feedback at the prediction's own time and at the very end of its window counts."""
    outcomes = run(
        predicted("p", 0), told("f", "p", 0), predicted("q", 1), told("g", "q", 101, label=2)
    )

    assert labels(outcomes) == {"p": 1, "q": 2}


def test_feedback_before_its_prediction_arrives() -> None:
    """Feedback that arrives first waits for its prediction."""
    assert labels(run(told("f", "p", 5), predicted("p", 0))) == {"p": 1}


def test_feedback_for_nothing() -> None:
    """Feedback whose prediction never comes waits one window and is then a dead letter."""
    joiner = Joiner(RULES)
    joiner.apply(told("f", "ghost", 1000))
    assert joiner.apply(predicted("q", 1110)) == ()

    (emission,) = joiner.apply(predicted("r", 1111))

    assert emission.outcome == DeadLetter(feedback=told("f", "ghost", 1000))
    assert joiner.counts.dead_letters == 1


def test_feedback_older_than_its_prediction() -> None:
    """Feedback observed before its prediction is rejected, whichever arrives first."""
    early = told("f", "p", 990)
    rejected = Rejected(event=early, because=RejectedBecause.BEFORE_PREDICTION)

    assert run(predicted("p", 1000), early) == [rejected]
    assert run(early, predicted("p", 1000)) == [rejected]


def test_late_labels() -> None:
    """Late labels are told apart: observed in the window but arriving late, or observed after."""
    arrives_late, observed_late = told("f", "p", 1050), told("g", "p", 1130)
    joiner = Joiner(RULES)
    joiner.apply(predicted("p", 1000))
    joiner.apply(predicted("q", 1120))

    outcomes = [
        *joiner.apply(arrives_late),
        *joiner.apply(observed_late),
        *joiner.apply(arrives_late),
    ]

    assert [emission.outcome for emission in outcomes] == [
        LateLabel(feedback=arrives_late, in_window=True),
        LateLabel(feedback=observed_late, in_window=False),
    ]
    counts = joiner.counts
    assert (counts.late_in_window, counts.late_outside, counts.duplicates) == (1, 1, 1)


def test_feedback_for_a_forgotten_prediction() -> None:
    """Feedback observed when its prediction is no longer remembered is a dead letter."""
    last, beyond = told("f", "p", 150), told("g", "p", 150.5)

    assert run(predicted("p", 0), last) == [LateLabel(feedback=last, in_window=False)]
    assert run(predicted("p", 0), beyond) == [DeadLetter(feedback=beyond)]


def test_prediction_that_may_have_been_emitted() -> None:
    """A prediction arriving when its like may have been emitted and forgotten is refused."""
    old = predicted("p", 0)
    refused = Rejected(event=old, because=RejectedBecause.PREDICTION_TOO_LATE)

    outcomes = run(old, told("f", "p", 1), predicted("q", 161), old, flush=False)

    assert [type(outcome) for outcome in outcomes] == [Example, Rejected]
    assert outcomes[1] == refused


def test_events_from_the_future() -> None:
    """An event whose own clock is ahead of ours is rejected and moves no time."""
    future = Feedback(
        event_id="f", prediction_id="p", observed_at=61.0, received_at=0.5, source="web", label=1
    )
    ahead = Prediction(
        event_id="q", occurred_at=1e9, received_at=2.0, model="m", slot="a", ordinal=1
    )
    rejected = [
        Rejected(event=event, because=RejectedBecause.FROM_THE_FUTURE) for event in (future, ahead)
    ]

    outcomes = run(predicted("p", 0), future, ahead, told("g", "p", 60))

    assert outcomes[:2] == rejected
    assert labels(outcomes) == {"p": 1}


def test_repetitions() -> None:
    """Repeated predictions and feedback change nothing."""
    p, f, g = predicted("p", 0), told("f", "p", 5), told("g", "ghost", 5)

    assert run(f, f, p, f, g, p, g) == run(p, f, g)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SourcePolicy.FIRST_WINS, "cat"),
        (SourcePolicy.LAST_WINS, "bird"),
        (SourcePolicy.MAJORITY, "dog"),
    ],
)
def test_policies(policy: SourcePolicy, expected: str) -> None:
    """Of a source's labels the first, the last or the most frequent counts, as its policy says."""
    rules = JoinRules(window_s=100, lateness_s=0, policies={"web": policy})
    votes = ["cat", "dog", "dog", "bird"]
    feedback = [told(f"f{i}", "p", 1 + i, label=vote) for i, vote in enumerate(votes)]

    assert labels(run(predicted("p", 0), *feedback, rules=rules)) == {"p": expected}


def test_majority_tie_goes_to_the_oldest() -> None:
    """Equal votes are decided by the oldest of them."""
    rules = JoinRules(window_s=100, lateness_s=0, default_policy=SourcePolicy.MAJORITY)
    feedback = [told(f"f{i}", "p", 1 + i, label=vote) for i, vote in enumerate("abba")]

    assert labels(run(predicted("p", 0), *feedback, rules=rules)) == {"p": "a"}


@pytest.mark.parametrize("policy", SourcePolicy)
def test_correction_supersedes(policy: SourcePolicy) -> None:
    """A higher revision by the same source counts, under any policy and whenever observed."""
    rules = JoinRules(window_s=100, lateness_s=0, default_policy=policy)
    feedback = [
        told("f1", "p", 1, label="wrong"),
        told("f2", "p", 2, label="right", revision=2),
        told("f3", "p", 3, label="wrong", revision=1),
        told("f4", "p", 4, label="wrong"),
    ]

    assert labels(run(predicted("p", 0), *feedback, rules=rules)) == {"p": "right"}


def test_between_sources_trust_decides() -> None:
    """The more trusted source wins; a correction of another source does not touch it."""
    feedback = [
        told("f1", "p", 1, label="expert", source="review", trust=0.9, weight=2.0),
        told("f2", "p", 9, label="crowd", source="web", trust=0.5, revision=7),
    ]

    (example,) = run(predicted("p", 0), *feedback)

    assert isinstance(example, Example)
    assert (example.label, example.source, example.trust) == ("expert", "review", 0.9)
    assert (example.weight, example.heard) == (2.0, 2)


def test_negatives_by_timeout() -> None:
    """With a timeout label, a prediction nobody spoke about becomes an example of it."""
    rules = JoinRules(window_s=100, lateness_s=0, timeout_label=0)

    outcomes = run(predicted("p", 0), predicted("q", 1), told("f", "q", 2), rules=rules)

    assert labels(outcomes) == {"p": 0, "q": 1}
    assert [o.feedback_id for o in outcomes if isinstance(o, Example)] == ["", "f"]


def test_other_kinds_do_not_move_time() -> None:
    """Exposures are no part of the join."""
    joiner = Joiner(RULES)
    joiner.apply(predicted("p", 0))
    joiner.apply(told("f", "p", 1))
    assert joiner.apply(exposure(1, occurred_at=1e9)) == ()
    assert joiner.advance(50) == ()
    assert len(joiner.advance(1e9)) == 1


def test_restart_from_a_snapshot(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Joining a log in steps, with a restart from a snapshot after each, equals one pass."""
    events: list[Event] = []
    for number in range(40):
        events += [predicted(f"p{number}", 10 * number), exposure(number)]
        events += [told(f"f{number}", f"p{number // 2 * 2}", 10 * number + 3, label=number)]
    with EventLog(tmp_path_factory.mktemp("log")) as log:
        log.append(events)
        whole = join_events(Joiner(RULES), log, 0, limit=1000)
        joiner, at = Joiner(RULES), 0
        emissions: list[Emission] = []
        while (step := join_events(joiner, log, at, limit=7)).next_offset > at:
            emissions += step.emissions
            joiner, at = load_join(RULES, dump_join(joiner, step.next_offset))

    assert tuple(emissions) == whole.emissions
    assert at == whole.next_offset == len(events)
    assert len(emissions) > 10


def test_snapshot_of_other_rules() -> None:
    """A state taken under other rules is refused."""
    with pytest.raises(ConflictError):
        load_join(JoinRules(window_s=1, lateness_s=10), dump_join(Joiner(RULES), 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_s": -1.0},
        {"lateness_s": float("inf")},
        {"remember_s": float("nan")},
        {"timeout_label": 0, "timeout_reward": 0.0},
    ],
)
def test_impossible_rules(wrong: dict[str, Any]) -> None:
    """Rules that mean nothing are refused."""
    with pytest.raises(InvalidValueError):
        JoinRules(**{"window_s": 1.0, "lateness_s": 1.0, **wrong})
