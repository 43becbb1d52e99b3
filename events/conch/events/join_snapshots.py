"""A join's state as bytes, so that a restart need not replay the whole log.

The state is a function of the events before an offset: a snapshot taken after `next_offset - 1`
and the events from `next_offset` on give the same emissions, under the same numbers, as a replay
from the beginning.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

from conch.core import ConflictError

from .coding import decode, encode
from .errors import InvalidEventError
from .examples import Emission, JoinRules
from .joining import Entry, Joiner
from .kinds import Feedback, Prediction
from .queries import EventSource

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinStep:
    """What one read of the log gave.

    Attributes:
        emissions: Outcomes in order.
        next_offset: Where to go on.
    """

    emissions: tuple[Emission, ...]
    next_offset: int


def join_events(
    joiner: Joiner, source: EventSource, from_offset: int, *, limit: int = 1000
) -> JoinStep:
    """Apply up to `limit` events of a log from an offset on.

    Raises:
        OffsetGoneError: Retention has dropped the offset.
    """
    emissions: list[Emission] = []
    events = source.read(from_offset, limit=limit)
    for stored in events:
        emissions += joiner.apply(stored.event)
    next_offset = events[-1].offset + 1 if events else from_offset
    return JoinStep(emissions=tuple(emissions), next_offset=next_offset)


def dump_join(joiner: Joiner, next_offset: int) -> bytes:
    """Return the state after the events before `next_offset`, as JSON."""
    newest_at = None if joiner.newest_at == float("-inf") else joiner.newest_at
    body = {
        "format": FORMAT,
        "rules": asdict(joiner.rules),
        "next_offset": next_offset,
        "newest_at": newest_at,
        "emitted": joiner.emitted,
        "counted": dict(joiner.counted),
        "entries": {key: _entry(entry) for key, entry in joiner.entries.items()},
        "parked": [encode(feedback).decode() for feedback in joiner.parked.values()],
    }
    return json.dumps(body).encode()


def load_join(rules: JoinRules, data: bytes) -> tuple[Joiner, int]:
    """Return the join as it was, and the offset to go on from.

    Raises:
        ConflictError: It was taken under other rules, under which it would mean something else.
        InvalidEventError: The bytes are no such state.
    """
    body = json.loads(data)
    if body["format"] != FORMAT:
        raise InvalidEventError(f"A join's state has format {body['format']}, not {FORMAT}.")
    if body["rules"] != json.loads(json.dumps(asdict(rules))):
        raise ConflictError(
            "The join's state was taken under other rules.",
            hint="Replay the log from the beginning under the new rules.",
        )
    joiner = Joiner(rules)
    joiner.newest_at = float("-inf") if body["newest_at"] is None else body["newest_at"]
    joiner.emitted = body["emitted"]
    joiner.counted = Counter(body["counted"])
    joiner.entries = {key: _restored(entry) for key, entry in body["entries"].items()}
    parked = [_feedback(item) for item in body["parked"]]
    joiner.parked = {feedback.event_id: feedback for feedback in parked}
    joiner.index()
    return joiner, int(body["next_offset"])


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "occurred_at": entry.occurred_at,
        "prediction": None if entry.prediction is None else encode(entry.prediction).decode(),
        "feedback": [encode(feedback).decode() for feedback in entry.feedback],
        "seen": sorted(entry.seen),
    }


def _restored(body: dict[str, Any]) -> Entry:
    prediction = None if body["prediction"] is None else decode(body["prediction"].encode())
    if prediction is not None and not isinstance(prediction, Prediction):
        raise InvalidEventError(f"A join's state holds a {prediction.kind} for a prediction.")
    return Entry(
        occurred_at=body["occurred_at"],
        prediction=prediction,
        feedback=[_feedback(item) for item in body["feedback"]],
        seen=set(body["seen"]),
    )


def _feedback(text: str) -> Feedback:
    event = decode(text.encode())
    if not isinstance(event, Feedback):
        raise InvalidEventError(f"A join's state holds a {event.kind} for feedback.")
    return event
