"""The join of predictions and feedback by prediction id, in event time.

Time is that of the events. The watermark trails the newest event by the allowed lateness; an event
is *in time* when the watermark has not passed its own time. A prediction's window closes once the
watermark is past its end, and its example is emitted then, once.

For events in time, the outcomes do not depend on the order of arrival or on repetitions, and
examples come in the order of their predictions' time. To make this hold for feedback too,
membership is decided by times and never by what happens to be in memory: feedback belongs to a
prediction if it was observed between one window before it and `remember_s` after the end of its
window. All other feedback is parked for one window, in case its prediction comes, and is then a
dead letter.

Nothing here does I/O or reads a clock: the state is a function of the events applied.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .examples import (
    DeadLetter,
    Emission,
    Example,
    JoinCounts,
    JoinRules,
    LateLabel,
    Outcome,
    Rejected,
    RejectedBecause,
)
from .kinds import Event, Feedback, Prediction, event_time
from .resolving import resolve

_FOREVER: Final = math.inf


@dataclass(slots=True)
class Entry:
    """A prediction that the join remembers; `prediction` is None once its window has closed."""

    occurred_at: float
    prediction: Prediction | None
    feedback: list[Feedback] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


class Joiner:
    """The state of one join. Memory: the predictions of one window plus lateness, and the ids of
    those of the last `remember_s` before.
    """

    def __init__(self, rules: JoinRules) -> None:
        self.rules = rules
        self.newest_at = -_FOREVER
        self.entries: dict[str, Entry] = {}
        self.parked: dict[str, Feedback] = {}
        self.counted: Counter[str] = Counter()
        self.emitted = 0
        self._parked_for: defaultdict[str, list[str]] = defaultdict(list)
        self._closing: list[tuple[float, str]] = []
        self._forgetting: list[tuple[float, str]] = []
        self._expiring: list[tuple[float, str]] = []

    @property
    def watermark(self) -> float:
        """No event in time is older than this, Unix seconds."""
        return self.newest_at - self.rules.lateness_s

    @property
    def counts(self) -> JoinCounts:
        """What the join has seen and done so far."""
        return JoinCounts(**self.counted)

    def apply(self, event: Event) -> tuple[Emission, ...]:
        """Take one event and return what follows from it; other kinds are ignored."""
        if not isinstance(event, Prediction | Feedback):
            return ()
        own_time = event_time(event)
        if own_time > event.received_at + self.rules.skew_s:
            outcomes: list[Outcome] = [self._rejected(event, RejectedBecause.FROM_THE_FUTURE)]
        else:
            outcomes = (
                self._predicted(event) if isinstance(event, Prediction) else self._told(event)
            )
            outcomes += self._advance(max(self.newest_at, own_time))
        return self._numbered(outcomes)

    def advance(self, newest_at: float) -> tuple[Emission, ...]:
        """Let time pass without an event, as of a quiet stream.

        For a replay to give the same emissions, the caller repeats the call at the same place.
        """
        return self._numbered(self._advance(max(self.newest_at, newest_at)))

    def flush(self) -> tuple[Emission, ...]:
        """Close every window: the log has ended."""
        return self.advance(_FOREVER)

    def index(self) -> None:
        """Rebuild what is derived from `entries` and `parked`, after a restore."""
        self._parked_for.clear()
        for feedback in self.parked.values():
            self._parked_for[feedback.prediction_id].append(feedback.event_id)
        ends = [(e.occurred_at + self.rules.window_s, k, e) for k, e in self.entries.items()]
        self._closing = [(end, key) for end, key, entry in ends if entry.prediction is not None]
        self._forgetting = [
            (end + self.rules.remember_s, key) for end, key, e in ends if e.prediction is None
        ]
        self._expiring = [
            (feedback.observed_at + self.rules.window_s, key)
            for key, feedback in self.parked.items()
        ]
        for heap in (self._closing, self._forgetting, self._expiring):
            heapq.heapify(heap)

    def _predicted(self, prediction: Prediction) -> list[Outcome]:
        self.counted["predictions"] += 1
        key, closes_at = prediction.event_id, prediction.occurred_at + self.rules.window_s
        if key in self.entries:
            self.counted["duplicates"] += 1
            return []
        if closes_at + self.rules.remember_s < self.watermark:
            return [self._rejected(prediction, RejectedBecause.PREDICTION_TOO_LATE)]
        entry = Entry(occurred_at=prediction.occurred_at, prediction=prediction)
        self.entries[key] = entry
        heapq.heappush(self._closing, (closes_at, key))
        outcomes: list[Outcome] = []
        apart = []
        for feedback_id in self._parked_for.pop(key, ()):
            if self._belongs(self.parked[feedback_id], entry):
                outcomes += self._assign(self.parked.pop(feedback_id), entry)
            else:
                apart.append(feedback_id)
        if apart:
            self._parked_for[key] = apart
        return outcomes

    def _told(self, feedback: Feedback) -> list[Outcome]:
        self.counted["feedback"] += 1
        entry = self.entries.get(feedback.prediction_id)
        if entry is not None and self._belongs(feedback, entry):
            return self._assign(feedback, entry)
        if feedback.event_id in self.parked:
            self.counted["duplicates"] += 1
            return []
        self.parked[feedback.event_id] = feedback
        self._parked_for[feedback.prediction_id].append(feedback.event_id)
        expires_at = feedback.observed_at + self.rules.window_s
        heapq.heappush(self._expiring, (expires_at, feedback.event_id))
        return []

    def _belongs(self, feedback: Feedback, entry: Entry) -> bool:
        window_s = self.rules.window_s
        return (
            entry.occurred_at <= feedback.observed_at + window_s
            and feedback.observed_at <= entry.occurred_at + window_s + self.rules.remember_s
        )

    def _assign(self, feedback: Feedback, entry: Entry) -> list[Outcome]:
        if feedback.event_id in entry.seen:
            self.counted["duplicates"] += 1
            return []
        entry.seen.add(feedback.event_id)
        if feedback.observed_at < entry.occurred_at:
            return [self._rejected(feedback, RejectedBecause.BEFORE_PREDICTION)]
        if feedback.observed_at > entry.occurred_at + self.rules.window_s:
            self.counted["late_outside"] += 1
            return [LateLabel(feedback=feedback, in_window=False)]
        if entry.prediction is None:
            self.counted["late_in_window"] += 1
            return [LateLabel(feedback=feedback, in_window=True)]
        entry.feedback.append(feedback)
        return []

    def _advance(self, newest_at: float) -> list[Outcome]:
        self.newest_at = newest_at
        watermark = self.watermark
        outcomes: list[Outcome] = []
        while self._closing and self._closing[0][0] < watermark:
            closes_at, key = heapq.heappop(self._closing)
            outcomes += self._close(self.entries[key])
            heapq.heappush(self._forgetting, (closes_at + self.rules.remember_s, key))
        while self._forgetting and self._forgetting[0][0] < watermark:
            del self.entries[heapq.heappop(self._forgetting)[1]]
        while self._expiring and self._expiring[0][0] < watermark:
            outcomes += self._expire(heapq.heappop(self._expiring)[1])
        return outcomes

    def _close(self, entry: Entry) -> Sequence[Outcome]:
        prediction, entry.prediction = entry.prediction, None
        feedback, entry.feedback = entry.feedback, []
        if prediction is None:
            raise AssertionError("a window closes once")
        rules = self.rules
        if not feedback and rules.timeout_label is None and rules.timeout_reward is None:
            self.counted["unlabelled"] += 1
            return ()
        self.counted["examples"] += 1
        if not feedback:
            return (
                Example(
                    prediction=prediction,
                    label=rules.timeout_label,
                    reward=rules.timeout_reward,
                    source="",
                    trust=1.0,
                    weight=1.0,
                    feedback_id="",
                    heard=0,
                ),
            )
        chosen = resolve(feedback, rules)
        return (
            Example(
                prediction=prediction,
                label=chosen.label,
                reward=chosen.reward,
                source=chosen.source,
                trust=chosen.trust,
                weight=chosen.weight,
                feedback_id=chosen.event_id,
                heard=len(feedback),
            ),
        )

    def _expire(self, feedback_id: str) -> Sequence[Outcome]:
        feedback = self.parked.pop(feedback_id, None)
        if feedback is None:  # its prediction came
            return ()
        waiting = self._parked_for[feedback.prediction_id]
        waiting.remove(feedback_id)
        if not waiting:
            del self._parked_for[feedback.prediction_id]
        self.counted["dead_letters"] += 1
        return (DeadLetter(feedback=feedback),)

    def _rejected(self, event: Prediction | Feedback, because: RejectedBecause) -> Rejected:
        self.counted["rejected"] += 1
        return Rejected(event=event, because=because)

    def _numbered(self, outcomes: list[Outcome]) -> tuple[Emission, ...]:
        first = self.emitted
        self.emitted += len(outcomes)
        return tuple(
            Emission(number=first + index, outcome=outcome)
            for index, outcome in enumerate(outcomes)
        )
