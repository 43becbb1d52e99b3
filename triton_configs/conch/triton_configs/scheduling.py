"""How requests become batches: dynamic batching, sequence batching, ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from conch.core import DType


class TimeoutAction(StrEnum):
    """`ModelQueuePolicy.TimeoutAction`: what happens to a request that waited too long."""

    REJECT = "REJECT"
    DELAY = "DELAY"


class ControlKind(StrEnum):
    """`ModelSequenceBatching.Control.Kind`: what a control tensor tells the model."""

    SEQUENCE_START = "CONTROL_SEQUENCE_START"
    SEQUENCE_READY = "CONTROL_SEQUENCE_READY"
    SEQUENCE_END = "CONTROL_SEQUENCE_END"
    SEQUENCE_CORRID = "CONTROL_SEQUENCE_CORRID"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """`ModelQueuePolicy`: how long and how many requests may wait.

    Attributes:
        timeout_action: What happens after the time-out.
        default_timeout_microseconds: Longest wait; 0 for none.
        allow_timeout_override: Whether a request may name a shorter one.
        max_queue_size: Requests that may wait; 0 for no limit. Beyond it callers get 503.
    """

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """`ModelDynamicBatching`.

    Attributes:
        preferred_batch_size: Sizes that are sent off at once when reached.
        max_queue_delay_microseconds: How long a request may wait for a batch to fill.
        preserve_ordering: Answers leave in the order of the requests.
        priority_levels: Number of levels, 1 the most urgent; 0 for none.
        default_priority_level: Level of a request that names none.
        default_queue_policy: For requests of every level without its own.
        priority_queue_policy: By level.
    """

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: Mapping[int, QueuePolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyDirect:
    """`StrategyDirect`: a sequence holds one batch slot of one instance from start to end.

    Attributes:
        max_queue_delay_microseconds: How long slots may wait for each other.
        minimum_slot_utilization: Share of slots (0 to 1) that need not wait; float32.
    """

    max_queue_delay_microseconds: int = 0
    minimum_slot_utilization: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyOldest:
    """`StrategyOldest`: the oldest requests of the candidate sequences form a batch.

    Attributes:
        max_candidate_sequences: Sequences that an instance takes at a time.
        preferred_batch_size: Sizes that are sent off at once when reached.
        max_queue_delay_microseconds: How long a request may wait for a batch to fill.
        preserve_ordering: Answers leave in the order of the requests.
    """

    max_candidate_sequences: int = 0
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One meaning of a control tensor and the values that carry it.

    Attributes:
        kind: What it tells.
        int32_false_true: The two values for an INT32 tensor.
        fp32_false_true: The two values for an FP32 tensor; float32.
        bool_false_true: The two values for a BOOL tensor.
        data_type: Type of a correlation id.
    """

    kind: ControlKind = ControlKind.SEQUENCE_START
    int32_false_true: tuple[int, ...] = ()
    fp32_false_true: tuple[float, ...] = ()
    bool_false_true: tuple[bool, ...] = ()
    data_type: DType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlInput:
    """A model input that Triton fills with control values.

    Attributes:
        name: The input.
        control: What it carries.
    """

    name: str = ""
    control: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """The state before a sequence's first request; exactly one of `zero_data`, `data_file`.

    Attributes:
        data_type: Element type.
        dims: Dimensions without the batch.
        zero_data: All zeros.
        data_file: A file within the model's `initial_state` folder.
        name: Name in messages.
    """

    data_type: DType | None = None
    dims: tuple[int, ...] = ()
    zero_data: bool | None = None
    data_file: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A tensor that Triton keeps per sequence and feeds back.

    Attributes:
        input_name: The model input that receives it.
        output_name: The model output that renews it.
        data_type: Element type.
        dims: Dimensions; -1 is variable.
        initial_state: Before the first request; zeros where empty.
        use_same_buffer_for_input_output: Both share memory.
        use_growable_memory: The buffer may grow (CUDA only).
    """

    input_name: str = ""
    output_name: str = ""
    data_type: DType | None = None
    dims: tuple[int, ...] = ()
    initial_state: tuple[InitialState, ...] = ()
    use_same_buffer_for_input_output: bool = False
    use_growable_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatching:
    """`ModelSequenceBatching`: requests of one sequence meet the same instance.

    Attributes:
        direct: One strategy ...
        oldest: ... or the other; the first where neither is given.
        max_sequence_idle_microseconds: A sequence idle for longer is freed; 0 is one second.
        control_input: Inputs that Triton fills.
        state: Tensors that Triton keeps.
        iterative_sequence: The model may reschedule a request of its own.
    """

    direct: StrategyDirect | None = None
    oldest: StrategyOldest | None = None
    max_sequence_idle_microseconds: int = 0
    control_input: tuple[ControlInput, ...] = ()
    state: tuple[State, ...] = ()
    iterative_sequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleStep:
    """One model of an ensemble and how its tensors are wired.

    Attributes:
        model_name: The model.
        model_version: Its version; -1 for the newest. Unset is 0, a version that nobody has.
        input_map: The model's input to the ensemble tensor that feeds it.
        output_map: The model's output to the ensemble tensor that it writes.
        model_namespace: Where the model is looked up.
    """

    model_name: str = ""
    model_version: int = 0
    input_map: Mapping[str, str] = field(default_factory=dict)
    output_map: Mapping[str, str] = field(default_factory=dict)
    model_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensembling:
    """`ModelEnsembling`: a graph of models that callers see as one.

    Attributes:
        step: The models; their order does not matter, the tensors do.
        max_inflight_requests: Responses of a decoupled step that may wait; 0 for no limit.
    """

    step: tuple[EnsembleStep, ...] = ()
    max_inflight_requests: int = 0
