"""The four kinds of event, as validated values.

Times are Unix seconds (UTC) as float. `received_at` is when conch took the event; `occurred_at`
and `observed_at` are the source's own clock. `event_id` is the idempotency key within its kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

import xxhash

from .errors import InvalidEventError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

LONGEST_ID: Final = 200
_LATEST_S: Final = 1e11  # the year 5138; anything above is milliseconds by mistake


class Kind(StrEnum):
    """What an event tells."""

    EXPOSURE = "exposure"
    PREDICTION = "prediction"
    METRIC = "metric"
    FEEDBACK = "feedback"


class FeedbackKind(StrEnum):
    """How a label came about."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One request that a model version answered, and how the answer went.

    Attributes:
        event_id: Idempotency key.
        occurred_at: When the request began.
        received_at: When conch took the event.
        model: The model on the wire.
        slot: The arm that served it.
        ordinal: The version directory that served it.
        build_id: The build; empty when unknown.
        unit_hash: Hash of the assignment unit (`hash_unit`).
        unit_given: Whether the request named its unit; else the unit is the request itself.
        request_id: The data plane's request id.
        release: The release or experiment that assigned the arm.
        stage: Ramp stage of the release, from 0.
        propensity: Probability of this arm for this unit, in (0, 1].
        latency_ms: Time to the last byte of the answer, milliseconds.
        status: HTTP status; 0 where the caller went away first.
        grpc_status: gRPC status, when the call was gRPC.
        flags: The data plane's response flags, such as `UF`; empty when none.
    """

    kind: ClassVar[Kind] = Kind.EXPOSURE

    event_id: str
    occurred_at: float
    received_at: float
    model: str
    slot: str
    ordinal: int
    build_id: str = ""
    unit_hash: str = ""
    unit_given: bool = True
    request_id: str = ""
    release: str = ""
    stage: int = 0
    propensity: float | None = None
    latency_ms: float | None = None
    status: int | None = None
    grpc_status: int | None = None
    flags: str = ""

    def __post_init__(self) -> None:
        _check_served(self)
        _check_range("latency_ms", self.latency_ms, 0.0, math.inf)
        _check_count("status", self.status)
        _check_count("grpc_status", self.grpc_status)
        _check_text("request_id", self.request_id)
        _check_text("flags", self.flags)
        if type(self.unit_given) is not bool:
            raise _invalid("unit_given", f"is {self.unit_given!r}, not true or false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer in full, as learning needs it. Its `event_id` is the prediction id.

    Attributes:
        event_id: The prediction id that the caller got (a UUIDv7 where conch made it).
        occurred_at: When the model answered.
        received_at: When conch took the event.
        model: The model on the wire.
        slot: The arm that served it.
        ordinal: The version directory that served it.
        build_id: The build; empty when unknown.
        unit_hash: Hash of the assignment unit.
        release: The release or experiment that assigned the arm.
        stage: Ramp stage of the release, from 0.
        propensity: Probability of this arm for this unit, in (0, 1].
        features: The inputs by tensor name; None when only a reference is kept.
        features_ref: Where the inputs lie when they are not in the event.
        schema_hash: Hash of the signature that the features follow.
        output: The outputs by tensor name.
        score: The model's own confidence or value, when it has one.
        latency_ms: Time in the model, milliseconds.
        request_id: The data plane's request id.
    """

    kind: ClassVar[Kind] = Kind.PREDICTION

    event_id: str
    occurred_at: float
    received_at: float
    model: str
    slot: str
    ordinal: int
    build_id: str = ""
    unit_hash: str = ""
    release: str = ""
    stage: int = 0
    propensity: float | None = None
    features: dict[str, JsonValue] | None = None
    features_ref: str = ""
    schema_hash: str = ""
    output: JsonValue = None
    score: float | None = None
    latency_ms: float | None = None
    request_id: str = ""

    def __post_init__(self) -> None:
        _check_served(self)
        _check_text("request_id", self.request_id)
        _check_range("score", self.score, -math.inf, math.inf)
        _check_range("latency_ms", self.latency_ms, 0.0, math.inf)
        _check_text("features_ref", self.features_ref)
        _check_text("schema_hash", self.schema_hash)
        if self.features is not None and not isinstance(self.features, dict):
            raise _invalid("features", "is not an object of tensors by name")
        if self.features is not None and self.features_ref:
            raise _invalid("features_ref", "is given next to the features themselves")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measured value of a unit, such as a purchase: what experiments are decided on.

    Attributes:
        event_id: Idempotency key.
        occurred_at: When it happened.
        received_at: When conch took the event.
        name: The metric.
        value: Its value, finite; the metric's definition holds the unit of measure.
        unit_hash: Hash of the assignment unit that joins it to exposures.
        model: The model it is about; empty when it is about none.
        request_id: The request it is about; empty when it is about none.
    """

    kind: ClassVar[Kind] = Kind.METRIC

    event_id: str
    occurred_at: float
    received_at: float
    name: str
    value: float
    unit_hash: str
    model: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        _check_id("event_id", self.event_id)
        _check_time("occurred_at", self.occurred_at)
        _check_time("received_at", self.received_at)
        _check_id("name", self.name)
        _check_id("unit_hash", self.unit_hash)
        _check_number("value", self.value)
        _check_text("model", self.model)
        _check_text("request_id", self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One label or reward for a prediction. Its `event_id` is the feedback id.

    Attributes:
        event_id: The feedback id, chosen by the sender.
        prediction_id: The prediction it is about.
        observed_at: When the source saw the outcome.
        received_at: When conch took the event.
        source: Who says so, such as `web` or `reviewers`.
        label: The right answer; None when a reward is given.
        reward: How good the answer was; None when a label is given.
        feedback: How it came about.
        trust: Trust in the source, 0 to 1.
        revision: 0 at first; a correction by the same source has a higher one.
        weight: Weight of the example, above 0.
        signature: The source's signature over its content; empty when unsigned.
    """

    kind: ClassVar[Kind] = Kind.FEEDBACK

    event_id: str
    prediction_id: str
    observed_at: float
    received_at: float
    source: str
    label: JsonValue = None
    reward: float | None = None
    feedback: FeedbackKind = FeedbackKind.EXPLICIT
    trust: float = 1.0
    revision: int = 0
    weight: float = 1.0
    signature: str = ""

    def __post_init__(self) -> None:
        _check_id("event_id", self.event_id)
        _check_id("prediction_id", self.prediction_id)
        _check_id("source", self.source)
        _check_time("observed_at", self.observed_at)
        _check_time("received_at", self.received_at)
        _check_range("reward", self.reward, -math.inf, math.inf)
        _check_number("trust", self.trust)
        _check_range("trust", self.trust, 0.0, 1.0)
        _check_number("weight", self.weight)
        _check_count("revision", self.revision)
        _check_text("signature", self.signature)
        if (self.label is None) == (self.reward is None):
            raise _invalid("label", "and reward are both given or both missing")
        if self.weight <= 0:
            raise _invalid("weight", f"is {self.weight!r}; it must be above 0")
        if not isinstance(self.feedback, FeedbackKind):
            raise _invalid("feedback", f"is {self.feedback!r}, not a FeedbackKind")


Event: TypeAlias = Exposure | Prediction | Metric | Feedback
KINDS: Final[dict[Kind, type[Event]]] = {
    Kind.EXPOSURE: Exposure,
    Kind.PREDICTION: Prediction,
    Kind.METRIC: Metric,
    Kind.FEEDBACK: Feedback,
}


def event_time(event: Event) -> float:
    """Return when it happened by the source's clock, Unix seconds."""
    return event.observed_at if isinstance(event, Feedback) else event.occurred_at


def hash_unit(unit: str) -> str:
    """Return the hash under which a unit is logged: xxh64 with seed 0, 16 hexadecimal digits.

    The data plane writes the same, so that a metric reported with a unit's id meets the exposures
    of that unit while the id itself is stored nowhere.

    >>> hash_unit("user-7")
    '216dec03713b4cfd'
    """
    return f"{xxhash.xxh64_intdigest(unit.encode()):016x}"


def _check_served(event: Exposure | Prediction) -> None:
    _check_id("event_id", event.event_id)
    _check_time("occurred_at", event.occurred_at)
    _check_time("received_at", event.received_at)
    _check_id("model", event.model)
    _check_id("slot", event.slot)
    if type(event.ordinal) is not int or event.ordinal < 1:
        raise _invalid("ordinal", f"is {event.ordinal!r}; versions count from 1")
    _check_text("build_id", event.build_id)
    _check_text("unit_hash", event.unit_hash)
    _check_text("release", event.release)
    if type(event.stage) is not int or event.stage < 0:
        raise _invalid("stage", f"is {event.stage!r}; stages count from 0")
    if event.propensity is not None:
        _check_range("propensity", event.propensity, 0.0, 1.0)
        if event.propensity == 0:
            raise _invalid("propensity", "is 0, yet the arm was taken")


def _check_id(name: str, value: str) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        raise _invalid(name, f"is {value!r}; it takes 1 to {LONGEST_ID} printable characters")


def _check_text(name: str, value: str) -> None:
    if not isinstance(value, str) or not value.isprintable():
        raise _invalid(name, f"is {value!r}; it takes printable characters")


def _check_time(name: str, value: float) -> None:
    if type(value) not in (int, float) or not 0 <= value < _LATEST_S:
        raise _invalid(name, f"is {value!r}, not a time in Unix seconds")


def _check_number(name: str, value: float) -> None:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _invalid(name, f"is {value!r}, not a finite number")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is None:
        return
    _check_number(name, value)
    if not low <= value <= high:
        raise _invalid(name, f"is {value!r}, outside {low}..{high}")


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 0):
        raise _invalid(name, f"is {value!r}, not a non-negative integer")


def _invalid(name: str, problem: str) -> InvalidEventError:
    return InvalidEventError(f"The event's {name} {problem}.", field=name)
