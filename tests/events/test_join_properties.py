"""The join under any order of arrival, against a brute-force join of the whole set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from conch.events import (
    DeadLetter,
    Emission,
    Example,
    Feedback,
    Joiner,
    JoinRules,
    LateLabel,
    Prediction,
    Rejected,
    SourcePolicy,
    dump_join,
    load_join,
)

SOURCES = ("a", "b", "c")
LabelledEvent = Prediction | Feedback


@dataclass(frozen=True)
class Case:
    """Rules, a set of events and one order of their arrival, some more than once."""

    rules: JoinRules
    events: list[LabelledEvent]
    arrivals: list[LabelledEvent]


def when(event: LabelledEvent) -> float:
    """Return the event's own time."""
    return event.observed_at if isinstance(event, Feedback) else event.occurred_at


@st.composite
def cases(draw: st.DrawFn, *, in_time: bool) -> Case:
    """Draw a case; in time means that no event arrives after one that is newer by more than the
    lateness: arrival order is the order of time plus a delay of at most the lateness.
    """
    lateness = draw(st.integers(0, 30))
    rules = JoinRules(
        window_s=draw(st.integers(0, 40)),
        lateness_s=lateness,
        remember_s=draw(st.integers(0, 20)),
        policies={source: draw(st.sampled_from(SourcePolicy)) for source in SOURCES[:2]},
        default_policy=draw(st.sampled_from(SourcePolicy)),
        timeout_label=draw(st.none() | st.just("nobody")),
    )
    moments = st.integers(0, 120)
    names = [f"p{number}" for number in range(draw(st.integers(1, 5)))]
    events: list[LabelledEvent] = [
        Prediction(
            event_id=name,
            occurred_at=draw(moments),
            received_at=1000,
            model="m",
            slot="a",
            ordinal=1,
        )
        for name in names
    ]
    events += [
        Feedback(
            event_id=f"f{number}",
            prediction_id=draw(st.sampled_from([*names, "ghost"])),
            observed_at=draw(moments),
            received_at=1000,
            source=draw(st.sampled_from(SOURCES)),
            label=draw(st.sampled_from("xyz")),
            trust=draw(st.sampled_from([0.5, 1.0])),
            revision=draw(st.integers(0, 1)),
        )
        for number in range(draw(st.integers(0, 14)))
    ]
    copies = [event for event in events for _ in range(draw(st.sampled_from([1, 1, 2])))]
    if in_time:
        delays = [(when(event) + draw(st.integers(0, lateness)), event) for event in copies]
        arrivals = [event for _, event in sorted(delays, key=lambda pair: pair[0])]
    else:
        arrivals = draw(st.permutations(copies))
    return Case(rules=rules, events=events, arrivals=arrivals)


def joined(case: Case) -> tuple[list[Emission], Joiner]:
    """Join the arrivals."""
    joiner = Joiner(case.rules)
    emissions = [emission for event in case.arrivals for emission in joiner.apply(event)]
    return [*emissions, *joiner.flush()], joiner


def brute_force(case: Case) -> tuple[list[tuple[str, object, str]], set[tuple[str, str]]]:
    """Join the whole set at once: examples in order, and what became of other feedback."""
    rules = case.rules
    predictions = {e.event_id: e for e in case.events if isinstance(e, Prediction)}
    inside: dict[str, list[Feedback]] = {name: [] for name in predictions}
    fates: set[tuple[str, str]] = set()
    for event in case.events:
        if not isinstance(event, Feedback):
            continue
        prediction = predictions.get(event.prediction_id)
        age = None if prediction is None else event.observed_at - prediction.occurred_at
        if age is None or age < -rules.window_s or age > rules.window_s + rules.remember_s:
            fates.add((event.event_id, "dead"))
        elif age < 0:
            fates.add((event.event_id, "rejected"))
        elif age > rules.window_s:
            fates.add((event.event_id, "late"))
        else:
            inside[event.prediction_id].append(event)
    examples: list[tuple[str, object, str]] = []
    for prediction in sorted(predictions.values(), key=lambda p: (p.occurred_at, p.event_id)):
        if heard := inside[prediction.event_id]:
            chosen = best(heard, rules)
            examples.append((prediction.event_id, chosen.label, chosen.event_id))
        elif rules.timeout_label is not None:
            examples.append((prediction.event_id, rules.timeout_label, ""))
    return examples, fates


def best(heard: list[Feedback], rules: JoinRules) -> Feedback:
    """Settle labels by comparing everybody with everybody."""

    def stands(one: Feedback, among: list[Feedback]) -> bool:
        own = [f for f in among if f.source == one.source]
        if any(other.revision > one.revision for other in own):
            return False
        own = [f for f in own if f.revision == one.revision]
        policy = rules.policy(one.source)
        place = (one.observed_at, one.event_id)
        places = [(f.observed_at, f.event_id) for f in own]
        if policy is SourcePolicy.FIRST_WINS:
            return place == min(places)
        if policy is SourcePolicy.LAST_WINS:
            return place == max(places)
        votes = Counter(str(f.label) for f in own)
        first = {v: min((f.observed_at, f.event_id) for f in own if f.label == v) for v in votes}
        winner = sorted(votes, key=lambda v: (-votes[v], first[v]))[0]
        return one.label == winner and place == first[winner]

    standing = [f for f in heard if stands(f, heard)]
    trusted = [f for f in standing if f.trust == max(g.trust for g in standing)]
    newest = [f for f in trusted if f.observed_at == max(g.observed_at for g in trusted)]
    return min(newest, key=lambda f: f.event_id)


@settings(max_examples=400, deadline=None)
@given(case=cases(in_time=True))
def test_order_of_arrival_does_not_matter(case: Case) -> None:
    """Events in time give the brute-force examples in time order, and the same late, dead and
    rejected feedback, whatever the order of arrival and however often repeated.
    """
    emissions, joiner = joined(case)
    examples, fates = brute_force(case)

    assert [
        (o.prediction.event_id, o.label, o.feedback_id)
        for e in emissions
        if isinstance(o := e.outcome, Example)
    ] == examples
    found: list[tuple[str, str]] = []
    for emission in emissions:
        match emission.outcome:
            case LateLabel(feedback=feedback, in_window=in_window):
                assert not in_window
                found.append((feedback.event_id, "late"))
            case DeadLetter(feedback=feedback):
                found.append((feedback.event_id, "dead"))
            case Rejected(event=event):
                found.append((event.event_id, "rejected"))
    assert len(found) == len(set(found))
    assert set(found) == fates
    assert joiner.counts.duplicates == len(case.arrivals) - len(case.events)


@settings(max_examples=200, deadline=None)
@given(case=cases(in_time=False))
def test_exactly_once_in_any_order(case: Case) -> None:
    """However late events arrive, no prediction is emitted twice, and numbers have no gap."""
    emissions, _ = joined(case)

    names = [e.outcome.prediction.event_id for e in emissions if isinstance(e.outcome, Example)]
    assert len(names) == len(set(names))
    assert [emission.number for emission in emissions] == list(range(len(emissions)))


@settings(max_examples=200, deadline=None)
@given(case=cases(in_time=False), cut=st.integers(0, 40))
def test_replay_and_snapshot(case: Case, cut: int) -> None:
    """The same arrivals give the same emissions, also through a snapshot at any point."""
    emissions, _ = joined(case)
    joiner = Joiner(case.rules)
    again: list[Emission] = []
    for number, event in enumerate(case.arrivals):
        if number == cut:
            joiner, at = load_join(case.rules, dump_join(joiner, number))
            assert at == number
        again += joiner.apply(event)

    assert [*again, *joiner.flush()] == emissions
