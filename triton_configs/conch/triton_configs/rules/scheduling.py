"""Batching, queues, priorities and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conch.core import DType

from ..scheduling import Control, ControlKind, QueuePolicy, TimeoutAction
from .books import Problem, RuleBook, Subject

book = RuleBook()

_LONG_DELAY_US: Final = 1_000_000
_CORRELATION_TYPES: Final = (
    DType.UINT64,
    DType.INT64,
    DType.UINT32,
    DType.INT32,
    DType.BYTES,
)


@book.error("max-batch-negative")
def max_batch_negative(subject: Subject) -> Iterator[Problem]:
    """The largest batch is below 0."""
    if subject.config.max_batch_size < 0:
        yield Problem("max_batch_size", "A batch cannot be negative.", "Use 0 for no batching.")


@book.error("schedulers-conflict")
def schedulers_conflict(subject: Subject) -> Iterator[Problem]:
    """More than one of dynamic batching, sequence batching and an ensemble is set."""
    names = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
    chosen = [name for name in names if getattr(subject.config, name) is not None]
    if len(chosen) > 1:
        yield Problem(chosen[-1], f"{' and '.join(chosen)} exclude each other.", "Keep one.")


@book.warning("batching-missing")
def batching_missing(subject: Subject) -> Iterator[Problem]:
    """The model takes batches, and nothing forms them from separate requests."""
    config = subject.config
    none = config.dynamic_batching is None and config.sequence_batching is None
    if config.max_batch_size > 1 and none and not subject.ensemble:
        yield Problem(
            "dynamic_batching",
            f"Requests are never joined, though the model takes {config.max_batch_size} rows.",
            "Add dynamic_batching { }.",
        )


@book.warning("batching-unbatched")
def batching_unbatched(subject: Subject) -> Iterator[Problem]:
    """Dynamic batching is on for a model that takes no batches."""
    config = subject.config
    if config.dynamic_batching is None or config.max_batch_size > 0:
        return
    queue = config.dynamic_batching
    if not (queue.default_queue_policy or queue.priority_queue_policy or queue.priority_levels):
        yield Problem(
            "dynamic_batching", "No batch is formed where max_batch_size is 0.", "Remove it."
        )


@book.error("preferred-batch-range")
def preferred_batch_range(subject: Subject) -> Iterator[Problem]:
    """A preferred batch size is outside 1 to `max_batch_size`."""
    config = subject.config
    sequence = config.sequence_batching
    sizes = {
        "dynamic_batching": config.dynamic_batching,
        "sequence_batching.oldest": sequence.oldest if sequence else None,
    }
    for at, batching in sizes.items():
        for index, size in enumerate(batching.preferred_batch_size if batching else ()):
            if not 1 <= size <= config.max_batch_size:
                yield Problem(
                    f"{at}.preferred_batch_size[{index}]",
                    f"{size} is outside 1..{config.max_batch_size}.",
                    "Remove it, or raise max_batch_size.",
                )


@book.warning("queue-delay-long")
def queue_delay_long(subject: Subject) -> Iterator[Problem]:
    """The batcher may hold a request for a second or longer."""
    batching = subject.config.dynamic_batching
    if batching and batching.max_queue_delay_microseconds >= _LONG_DELAY_US:
        yield Problem(
            "dynamic_batching.max_queue_delay_microseconds",
            f"A lone request waits {batching.max_queue_delay_microseconds / 1e6:g} s.",
            "The unit is a microsecond; hundreds to a few thousand are usual.",
        )


@book.error("priority-default-range")
def priority_default_range(subject: Subject) -> Iterator[Problem]:
    """There are priority levels, and the default is none of them."""
    batching = subject.config.dynamic_batching
    if batching is None or batching.priority_levels == 0:
        return
    if not 1 <= batching.default_priority_level <= batching.priority_levels:
        yield Problem(
            "dynamic_batching.default_priority_level",
            f"{batching.default_priority_level} is outside 1..{batching.priority_levels}.",
            "Name the level of requests that name none.",
        )


@book.error("priority-policy-range")
def priority_policy_range(subject: Subject) -> Iterator[Problem]:
    """A queue policy is given for a priority level that does not exist."""
    batching = subject.config.dynamic_batching
    if batching is None or batching.priority_levels == 0:
        return
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= batching.priority_levels:
            yield Problem(
                f"dynamic_batching.priority_queue_policy[{level}]",
                f"There are levels 1..{batching.priority_levels}.",
                "Remove the policy.",
            )


@book.warning("priority-ignored")
def priority_ignored(subject: Subject) -> Iterator[Problem]:
    """Priorities are set, and there are no levels."""
    batching = subject.config.dynamic_batching
    if batching is None or batching.priority_levels:
        return
    if batching.default_priority_level or batching.priority_queue_policy:
        yield Problem(
            "dynamic_batching.priority_levels",
            "Without levels every request is the same.",
            "State the number of levels.",
        )


@book.error("ordering-conflict")
def ordering_conflict(subject: Subject) -> Iterator[Problem]:
    """The order of requests is to be kept although priorities or delays change it."""
    batching = subject.config.dynamic_batching
    if batching is None or not batching.preserve_ordering:
        return
    at = "dynamic_batching.preserve_ordering"
    if batching.priority_levels > 1:
        yield Problem(at, "Priorities change the order.", "Keep one of the two.")
    for path, policy in _policies(subject):
        if policy.timeout_action is TimeoutAction.DELAY and policy.default_timeout_microseconds:
            yield Problem(f"{path}.timeout_action", "A delay changes the order.", "Use REJECT.")


@book.warning("queue-action-idle")
def queue_action_idle(subject: Subject) -> Iterator[Problem]:
    """Requests are to be delayed after a time-out that never comes."""
    for path, policy in _policies(subject):
        never = not policy.default_timeout_microseconds and not policy.allow_timeout_override
        if policy.timeout_action is TimeoutAction.DELAY and never:
            yield Problem(
                f"{path}.timeout_action", "There is no time-out.", "State one, or allow callers to."
            )


@book.error("cache-sequence")
def cache_sequence(subject: Subject) -> Iterator[Problem]:
    """The response cache is on for a model with sequences."""
    cache = subject.config.response_cache
    if cache and cache.enable and subject.config.sequence_batching is not None:
        yield Problem("response_cache", "Sequences cannot be cached.", "Turn the cache off.")


@book.error("cache-decoupled")
def cache_decoupled(subject: Subject) -> Iterator[Problem]:
    """The response cache is on for a model with decoupled responses."""
    cache, policy = subject.config.response_cache, subject.config.model_transaction_policy
    if cache and cache.enable and policy and policy.decoupled:
        yield Problem("response_cache", "Streams cannot be cached.", "Turn the cache off.")


@book.info("decoupled-needs-stream")
def decoupled_needs_stream(subject: Subject) -> Iterator[Problem]:
    """Decoupled responses reach only callers of the gRPC stream."""
    policy = subject.config.model_transaction_policy
    if policy and policy.decoupled:
        yield Problem(
            "model_transaction_policy.decoupled",
            "HTTP inference answers 501.",
            "Let callers use ModelStreamInfer, or the generate endpoint.",
        )


@book.error("sequence-control-invalid")
def sequence_control_invalid(subject: Subject) -> Iterator[Problem]:
    """A control tensor lacks its name or its values, or a control is there twice."""
    batching = subject.config.sequence_batching
    seen: set[ControlKind] = set()
    for index, tensor in enumerate(batching.control_input if batching else ()):
        at = f"sequence_batching.control_input[{index}]"
        if not tensor.name:
            yield Problem(f"{at}.name", "It names no input.", "Name the model's input.")
        for number, control in enumerate(tensor.control):
            here = f"{at}.control[{number}]"
            if control.kind in seen:
                yield Problem(f"{here}.kind", f"{control.kind} is there twice.", "Keep one.")
            seen.add(control.kind)
            if wrong := _wrong_values(control):
                yield Problem(here, *wrong)


@book.error("sequence-utilization-range")
def sequence_utilization_range(subject: Subject) -> Iterator[Problem]:
    """The share of slots that need not wait is outside 0 to 1."""
    batching = subject.config.sequence_batching
    if batching and batching.direct and not 0 <= batching.direct.minimum_slot_utilization <= 1:
        yield Problem(
            "sequence_batching.direct.minimum_slot_utilization",
            f"{batching.direct.minimum_slot_utilization} is no share.",
            "Use 0 to 1.",
        )


@book.error("sequence-state-incomplete")
def sequence_state_incomplete(subject: Subject) -> Iterator[Problem]:
    """A state lacks a tensor, a type or dimensions, or its first value."""
    batching = subject.config.sequence_batching
    for index, state in enumerate(batching.state if batching else ()):
        at = f"sequence_batching.state[{index}]"
        for name in ("input_name", "output_name", "data_type", "dims"):
            if not getattr(state, name):
                yield Problem(f"{at}.{name}", "It is not stated.", "State it.")
        for number, first in enumerate(state.initial_state):
            if first.zero_data is None and not first.data_file:
                yield Problem(
                    f"{at}.initial_state[{number}]", "It has no value.", "Use zeros or a file."
                )


def _policies(subject: Subject) -> Iterator[tuple[str, QueuePolicy]]:
    batching = subject.config.dynamic_batching
    if batching is None:
        return
    if batching.default_queue_policy is not None:
        yield "dynamic_batching.default_queue_policy", batching.default_queue_policy
    for level in sorted(batching.priority_queue_policy):
        path = f"dynamic_batching.priority_queue_policy[{level}]"
        yield path, batching.priority_queue_policy[level]


def _wrong_values(control: Control) -> tuple[str, str] | None:
    pairs = (control.int32_false_true, control.fp32_false_true, control.bool_false_true)
    given = [pair for pair in pairs if pair]
    if control.kind is ControlKind.SEQUENCE_CORRID:
        if given:
            return "A correlation id has no false and true values.", "Remove them."
        if control.data_type not in _CORRELATION_TYPES:
            return "A correlation id is an integer of 32 or 64 bits or a string.", "State its type."
    elif len(given) != 1 or len(given[0]) != 2:
        return "It needs the two values of exactly one type.", "State, for instance, [ 0, 1 ]."
    return None
