"""`ModelConfig`: everything that Triton reads from one `config.pbtxt`.

Every class here and in `tensors`, `scheduling`, `placement`, `optimization` and `warmup` mirrors a
message of Triton's `model_config.proto` (package `inference`) field by field and under the same
names, so that Triton's own documentation explains them. `None` means "not in the text".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .optimization import OptimizationPolicy
from .placement import InstanceGroup
from .scheduling import DynamicBatching, Ensembling, SequenceBatching
from .tensors import BatchInput, BatchOutput, Input, Output
from .warmup import Warmup


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestVersions:
    """Serve the versions with the highest numbers; of 0 versions none is served."""

    num_versions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AllVersions:
    """Serve every version in the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecificVersions:
    """Serve exactly these versions."""

    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """`ModelVersionPolicy`; at most one of its three members."""

    latest: LatestVersions | None = None
    all: AllVersions | None = None
    specific: SpecificVersions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Libraries of custom operations that the backend loads."""

    op_library_filename: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionPolicy:
    """Whether a request may get any number of responses (`decoupled`) instead of one."""

    decoupled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAgent:
    """A plug-in that acts on the model's files before they are loaded, and its options."""

    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAgents:
    """The plug-ins in the order in which they act."""

    agents: tuple[RepositoryAgent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCache:
    """Whether answers are cached by model, version and inputs (needs `--cache-config`)."""

    enable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricIdentifier:
    """Which metric, by its Prometheus family name."""

    family: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramOptions:
    """Upper bounds of a histogram's buckets, ascending."""

    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricControl:
    """One metric and how it is reported for this model."""

    metric_identifier: MetricIdentifier | None = None
    histogram_options: HistogramOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetrics:
    """Metrics that this model reports in a way of its own."""

    metric_control: tuple[MetricControl, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """`inference.ModelConfig`.

    Attributes:
        name: The model's name, that of its folder.
        platform: The older way to name the backend; `ensemble` has only this one.
        backend: The backend that executes the model.
        runtime: The backend's own runtime, such as the library that it loads.
        version_policy: Which version folders are served; the highest where it is None.
        max_batch_size: Largest batch in rows; 0 for tensors without a batch dimension.
        input: What a request carries.
        output: What a response carries.
        batch_input: Inputs that Triton computes over a ragged batch.
        batch_output: Outputs that Triton splits over a ragged batch.
        optimization: What the backend may do for speed.
        dynamic_batching: Batches from independent requests; at most one of these three.
        sequence_batching: Batches from sequences.
        ensemble_scheduling: A graph of models.
        instance_group: Where and how often the model is loaded.
        default_model_filename: The model's file where it is not the backend's usual one.
        cc_model_filenames: The model's file by CUDA compute capability.
        metric_tags: Labels of the model's metrics.
        parameters: Options that only the backend understands (`string_value` in the text).
        model_warmup: Requests before the model is ready.
        model_operations: Libraries of custom operations.
        model_transaction_policy: Whether responses are decoupled from requests.
        model_repository_agents: Plug-ins that act on the files.
        response_cache: Whether answers are cached.
        model_metrics: Metrics reported in a way of the model's own.
    """

    name: str = ""
    platform: str = ""
    backend: str = ""
    runtime: str = ""
    version_policy: VersionPolicy | None = None
    max_batch_size: int = 0
    input: tuple[Input, ...] = ()
    output: tuple[Output, ...] = ()
    batch_input: tuple[BatchInput, ...] = ()
    batch_output: tuple[BatchOutput, ...] = ()
    optimization: OptimizationPolicy | None = None
    dynamic_batching: DynamicBatching | None = None
    sequence_batching: SequenceBatching | None = None
    ensemble_scheduling: Ensembling | None = None
    instance_group: tuple[InstanceGroup, ...] = ()
    default_model_filename: str = ""
    cc_model_filenames: Mapping[str, str] = field(default_factory=dict)
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    model_warmup: tuple[Warmup, ...] = ()
    model_operations: Operations | None = None
    model_transaction_policy: TransactionPolicy | None = None
    model_repository_agents: RepositoryAgents | None = None
    response_cache: ResponseCache | None = None
    model_metrics: ModelMetrics | None = None
