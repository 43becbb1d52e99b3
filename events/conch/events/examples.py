"""What the join of predictions and feedback yields, and the rules it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from conch.core import InvalidValueError

from .kinds import Feedback, JsonValue, Prediction


class SourcePolicy(StrEnum):
    """Which of several labels by one source for one prediction counts.

    Only labels of the source's highest revision take part: a correction supersedes.
    """

    FIRST_WINS = "first-wins"
    LAST_WINS = "last-wins"
    MAJORITY = "majority"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRules:
    """When a prediction's example is ready and which label it carries.

    Attributes:
        window_s: Attribution window: feedback counts when observed within this time after the
            prediction.
        lateness_s: How far behind the newest event another may arrive and still be in time.
        remember_s: How long after its window a prediction is remembered, so that later feedback
            is told apart from feedback for a prediction that never was.
        skew_s: How far an event's own clock may run ahead of ours (`received_at`). Without this
            bound one event from the future would close every window.
        policies: Policy by source.
        default_policy: Policy of every other source.
        timeout_label: The label of a prediction without feedback, such as 0 for "not clicked";
            None together with no `timeout_reward` makes no example of it.
        timeout_reward: The reward of a prediction without feedback.
    """

    window_s: float
    lateness_s: float
    remember_s: float = 0.0
    skew_s: float = 60.0
    policies: Mapping[str, SourcePolicy] = field(default_factory=dict)
    default_policy: SourcePolicy = SourcePolicy.LAST_WINS
    timeout_label: JsonValue = None
    timeout_reward: float | None = None

    def __post_init__(self) -> None:
        for name in ("window_s", "lateness_s", "remember_s", "skew_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidValueError(f"The join's {name} is {getattr(self, name)}.")
        if self.timeout_label is not None and self.timeout_reward is not None:
            raise InvalidValueError("The join has both a timeout label and a timeout reward.")

    def policy(self, source: str) -> SourcePolicy:
        """Return the policy of a source."""
        return self.policies.get(source, self.default_policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prediction with its final label: emitted once, when its window has closed.

    Attributes:
        prediction: What was predicted, from what.
        label: The label; None when a reward is given.
        reward: The reward; None when a label is given.
        source: Who gave it; empty when nobody did in time (`timeout_label`).
        trust: Trust in that source, 0 to 1.
        weight: Weight of the example.
        feedback_id: The feedback that won; empty when nobody gave any.
        heard: How many feedback events were in the window.
    """

    prediction: Prediction
    label: JsonValue
    reward: float | None
    source: str
    trust: float
    weight: float
    feedback_id: str
    heard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateLabel:
    """Feedback for a known prediction that no example carries.

    Attributes:
        feedback: The feedback.
        in_window: Whether it was observed in the window and only arrived after the example was
            emitted: good for metrics, too late for training.
    """

    feedback: Feedback
    in_window: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Feedback whose prediction did not come, or had long been forgotten."""

    feedback: Feedback


class RejectedBecause(StrEnum):
    """Why an event takes no part in the join."""

    BEFORE_PREDICTION = "before-prediction"
    PREDICTION_TOO_LATE = "prediction-too-late"
    FROM_THE_FUTURE = "from-the-future"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An event that cannot be right: feedback older than its prediction, a prediction that
    arrives when it may already have been emitted and forgotten, a time that has not come yet.
    """

    event: Prediction | Feedback
    because: RejectedBecause


Outcome: TypeAlias = Example | LateLabel | DeadLetter | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """An outcome with its number.

    The same log gives the same outcomes under the same numbers, so a consumer that keeps the last
    number it stored takes each exactly once, also after a replay.
    """

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinCounts:
    """What the join has seen and done so far."""

    predictions: int = 0
    feedback: int = 0
    duplicates: int = 0
    examples: int = 0
    unlabelled: int = 0
    late_in_window: int = 0
    late_outside: int = 0
    dead_letters: int = 0
    rejected: int = 0
