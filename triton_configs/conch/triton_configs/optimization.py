"""What a backend may do for speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ModelPriority(StrEnum):
    """`ModelOptimizationPolicy.ModelPriority`."""

    DEFAULT = "PRIORITY_DEFAULT"
    MAX = "PRIORITY_MAX"
    MIN = "PRIORITY_MIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptimization:
    """Framework graph optimisation.

    Attributes:
        level: 0 is the backend's default; -1 and 1 mean less and more (see the backend).
    """

    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphShape:
    """Dimensions of one input of a captured CUDA graph."""

    dim: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLowerBound:
    """The smallest request that a captured CUDA graph may serve.

    Attributes:
        batch_size: Rows.
        input: Dimensions by input.
    """

    batch_size: int = 0
    input: Mapping[str, GraphShape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """A CUDA graph to capture.

    Attributes:
        batch_size: Rows.
        input: Dimensions by input.
        graph_lower_bound: The smallest request that it may serve.
    """

    batch_size: int = 0
    input: Mapping[str, GraphShape] = field(default_factory=dict)
    graph_lower_bound: GraphLowerBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaOptimization:
    """CUDA settings (TensorRT).

    Attributes:
        graphs: Capture and use CUDA graphs.
        busy_wait_events: Spin instead of sleeping; faster and costs a core.
        graph_spec: Which graphs; empty for the backend's choice.
        output_copy_stream: Copy outputs on a stream of its own.
    """

    graphs: bool = False
    busy_wait_events: bool = False
    graph_spec: tuple[GraphSpec, ...] = ()
    output_copy_stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One execution provider, such as `tensorrt`, `cuda` or `openvino`, and its options."""

    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionAccelerators:
    """Execution providers in order of preference.

    Attributes:
        gpu_execution_accelerator: For instances on a GPU.
        cpu_execution_accelerator: For instances on a CPU.
    """

    gpu_execution_accelerator: tuple[Accelerator, ...] = ()
    cpu_execution_accelerator: tuple[Accelerator, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedMemoryBuffer:
    """Whether transfers go through page-locked memory; Triton's default is yes."""

    enable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizationPolicy:
    """`ModelOptimizationPolicy`.

    Attributes:
        graph: Framework graph optimisation.
        priority: Of the model's CUDA streams (TensorRT).
        cuda: CUDA settings.
        execution_accelerators: Execution providers.
        input_pinned_memory: For inputs.
        output_pinned_memory: For outputs.
        gather_kernel_buffer_threshold: Buffers from which a gather kernel is used; 0 is never.
        eager_batching: Prepare a batch before the one in execution ends.
    """

    graph: GraphOptimization | None = None
    priority: ModelPriority = ModelPriority.DEFAULT
    cuda: CudaOptimization | None = None
    execution_accelerators: ExecutionAccelerators | None = None
    input_pinned_memory: PinnedMemoryBuffer | None = None
    output_pinned_memory: PinnedMemoryBuffer | None = None
    gather_kernel_buffer_threshold: int = 0
    eager_batching: bool = False
