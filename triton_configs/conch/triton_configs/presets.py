"""Complete configurations for what a build publishes, one per backend.

Servers run with auto-completion off, so a preset states everything: tensors, batching, instances,
versions. A preset takes the same four things, whichever backend serves the build, so that the
portable and the native flavour of one build differ in nothing that a caller can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conch.core import DYNAMIC, Ordinal, ServingSpec, Signature, TensorSpec, TritonName

from .configs import ModelConfig, SpecificVersions, VersionPolicy
from .errors import PresetError
from .placement import InstanceGroup, InstanceKind
from .scheduling import DynamicBatching, QueuePolicy
from .tensors import Input, Output, Reshape
from .warmup_files import WarmupFile, warmup_samples


def portable_onnx(
    *,
    model: TritonName,
    ordinal: Ordinal,
    signature: Signature,
    spec: ServingSpec,
    warmup: Sequence[WarmupFile] = (),
    parameters: Mapping[str, str] | None = None,
) -> ModelConfig:
    """Return the configuration of an ONNX build served through Triton's Python backend.

    The version folder holds `model.py`, which runs the `model.onnx` beside it with ONNX Runtime.
    This is the flavour for servers without the ONNX Runtime backend.

    Args:
        model: The model's name on the wire and of its folder.
        ordinal: The one version to serve.
        signature: Tensors; `shape` leaves the batch dimension out where `batched`.
        spec: Batching and instances.
        warmup: Samples whose files lie in the model's `warmup` folder.
        parameters: Options that `model.py` reads, strings by name.

    Raises:
        PresetError: The signature, the options and the samples contradict each other.

    >>> from conch.core import DType
    >>> config = portable_onnx(
    ...     model=TritonName("digits"),
    ...     ordinal=Ordinal(7),
    ...     signature=Signature(
    ...         inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(16,)),),
    ...         outputs=(TensorSpec(name="y", dtype=DType.FP32, shape=(4,)),),
    ...     ),
    ...     spec=ServingSpec(max_batch_size=32, queue_delay_us=500),
    ... )
    >>> config.backend, config.max_batch_size, config.version_policy.specific.versions
    ('python', 32, (7,))
    """
    return _complete(
        model=model,
        ordinal=ordinal,
        signature=signature,
        spec=spec,
        warmup=warmup,
        backend="python",
        kind=InstanceKind.CPU,
        parameters=parameters or {},
    )


def _complete(
    *,
    model: TritonName,
    ordinal: Ordinal,
    signature: Signature,
    spec: ServingSpec,
    warmup: Sequence[WarmupFile],
    backend: str,
    kind: InstanceKind,
    parameters: Mapping[str, str],
) -> ModelConfig:
    rows = spec.max_batch_size
    if rows and not signature.batched:
        raise PresetError(
            f"{model!r} has no batch dimension, yet max_batch_size is {rows}.",
            hint="Set max_batch_size to 0.",
        )
    return ModelConfig(
        name=model,
        backend=backend,
        version_policy=VersionPolicy(specific=SpecificVersions(versions=(ordinal,))),
        max_batch_size=rows,
        input=tuple(
            Input(
                name=tensor.name,
                data_type=tensor.dtype,
                dims=_dims(tensor, signature, rows),
                reshape=_reshape(tensor, rows),
                optional=tensor.optional,
            )
            for tensor in signature.inputs
        ),
        output=tuple(
            Output(
                name=tensor.name,
                data_type=tensor.dtype,
                dims=_dims(tensor, signature, rows),
                reshape=_reshape(tensor, rows),
            )
            for tensor in signature.outputs
        ),
        dynamic_batching=_batching(spec),
        instance_group=(InstanceGroup(kind=kind, count=spec.instances),),
        parameters=dict(parameters),
        model_warmup=warmup_samples(warmup, signature=signature, max_batch_size=rows),
    )


def _dims(tensor: TensorSpec, signature: Signature, rows: int) -> tuple[int, ...]:
    if rows:
        return tensor.shape or (1,)
    dims = (DYNAMIC, *tensor.shape) if signature.batched else tensor.shape
    if not dims:
        raise PresetError(
            f"Tensor {tensor.name!r} is a scalar; Triton has none without a batch dimension.",
            hint="Give it the shape [1].",
        )
    return dims


def _reshape(tensor: TensorSpec, rows: int) -> Reshape | None:
    """Triton wants at least one dimension beside the batch; the model may see none."""
    return Reshape(shape=()) if rows and not tensor.shape else None


def _batching(spec: ServingSpec) -> DynamicBatching | None:
    """Without a batch dimension the batcher still keeps the queue: one request is a batch."""
    policy = QueuePolicy(max_queue_size=spec.queue_size) if spec.queue_size else None
    if spec.max_batch_size == 0:
        return DynamicBatching(default_queue_policy=policy) if policy else None
    return DynamicBatching(
        preferred_batch_size=spec.preferred_batch_sizes,
        max_queue_delay_microseconds=spec.queue_delay_us,
        default_queue_policy=policy,
    )
