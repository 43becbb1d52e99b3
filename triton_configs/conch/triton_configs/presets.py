"""Complete configurations for what a build publishes, one per backend.

Servers run with auto-completion off, so a preset states everything: tensors, batching, instances,
versions. All presets take the same `BuildFacts`, whichever backend serves the build, so that the
portable and the native flavour of one build differ in nothing that a caller can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NotRequired, TypedDict, Unpack

from conch.core import DYNAMIC, Ordinal, ServingSpec, Signature, TensorSpec, TritonName

from .configs import ModelConfig, ResponseCache, SpecificVersions, VersionPolicy
from .errors import PresetError
from .placement import InstanceGroup, InstanceKind
from .rules.backends import FIL_FILES
from .scheduling import DynamicBatching, EnsembleStep, Ensembling, QueuePolicy
from .tensors import Input, Output, Reshape
from .warmup_files import WarmupFile, warmup_samples


class BuildFacts(TypedDict):
    """What every preset needs to know of a build.

    Attributes:
        model: The model's name on the wire and of its folder.
        ordinal: The one version to serve.
        signature: Tensors; `shape` leaves the batch dimension out where `batched`.
        spec: Batching and instances.
        warmup: Samples whose files lie in the model's `warmup` folder; none where left out.
        parameters: Options that the backend or `model.py` reads; none where left out.
        labels: By output, the file in the model's folder with the name of each column, one a line;
            none where left out.
    """

    model: TritonName
    ordinal: Ordinal
    signature: Signature
    spec: ServingSpec
    warmup: NotRequired[Sequence[WarmupFile]]
    parameters: NotRequired[Mapping[str, str]]
    labels: NotRequired[Mapping[str, str]]


def portable_onnx(**facts: Unpack[BuildFacts]) -> ModelConfig:
    """Return the configuration of an ONNX build served through Triton's Python backend.

    The version folder holds `model.py`, which runs the `model.onnx` beside it with ONNX Runtime.
    This is the flavour for servers without the ONNX Runtime backend.

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
    return native_python(**facts)


def native_python(
    *, kind: InstanceKind = InstanceKind.CPU, **facts: Unpack[BuildFacts]
) -> ModelConfig:
    """Return the configuration of a `model.py` for the Python backend.

    Raises:
        PresetError: The signature, the options and the samples contradict each other.
    """
    return _complete(facts, backend="python", kind=kind)


def native_onnx(
    *, kind: InstanceKind = InstanceKind.CPU, **facts: Unpack[BuildFacts]
) -> ModelConfig:
    """Return the configuration of a `model.onnx` for the ONNX Runtime backend.

    Raises:
        PresetError: The signature, the options and the samples contradict each other.
    """
    return _complete(facts, backend="onnxruntime", kind=kind)


def native_openvino(
    *,
    filename: Literal["model.xml", "model.onnx", "model.saved_model"] = "model.xml",
    **facts: Unpack[BuildFacts],
) -> ModelConfig:
    """Return the configuration of a model for the OpenVINO backend, which runs on the CPU.

    Args:
        filename: What the version folder holds: OpenVINO's own format, or another that it reads.
        **facts: The build.

    Raises:
        PresetError: The signature, the options and the samples contradict each other.
    """
    config = _complete(facts, backend="openvino", kind=InstanceKind.CPU)
    return replace(config, default_model_filename=filename)


def native_tensorrt(**facts: Unpack[BuildFacts]) -> ModelConfig:
    """Return the configuration of a `model.plan` for the TensorRT backend, on GPUs.

    Raises:
        PresetError: The signature, the options and the samples contradict each other.
    """
    return _complete(facts, backend="tensorrt", kind=InstanceKind.GPU)


def native_pytorch(
    *,
    platform: Literal["pytorch_libtorch", "torch_aoti"] = "pytorch_libtorch",
    kind: InstanceKind = InstanceKind.CPU,
    **facts: Unpack[BuildFacts],
) -> ModelConfig:
    """Return the configuration of a `model.pt` or `model.pt2` for the PyTorch backend.

    A TorchScript module's inputs are found by the argument names of `forward` or as
    `NAME__<index>`, outputs as `NAME__<index>` or by their order.

    Args:
        platform: TorchScript, or an AOTInductor package (from 26.03; no batches above 1).
        kind: The device.
        **facts: The build.

    Raises:
        PresetError: The signature, the options and the samples contradict each other, or an
            AOTInductor package is to take batches.
    """
    if platform == "torch_aoti" and facts["spec"].max_batch_size > 1:
        raise PresetError(
            f"{facts['model']!r} is an AOTInductor package, which takes no batches above 1.",
            hint="Set max_batch_size to 1 or 0, or convert to ONNX.",
        )
    return replace(_complete(facts, backend="pytorch", kind=kind), platform=platform)


def native_fil(
    *,
    model_type: str,
    is_classifier: bool,
    predict_proba: bool = False,
    kind: InstanceKind = InstanceKind.CPU,
    **facts: Unpack[BuildFacts],
) -> ModelConfig:
    """Return the configuration of a tree ensemble for the FIL backend.

    FIL names its tensors `input__0` and `output__0`, computes in FP32 and always takes batches;
    the signature must say the same.

    Args:
        model_type: `xgboost_ubj`, `xgboost_json`, `xgboost`, `lightgbm` or `treelite_checkpoint`;
            it decides the file's name.
        is_classifier: Whether the output is a class.
        predict_proba: Whether the output is a probability per class.
        kind: The device.
        **facts: The build.

    Raises:
        PresetError: The type is unknown, the signature is not FIL's, or the facts contradict
            each other.
    """
    if model_type not in FIL_FILES:
        raise PresetError(
            f"FIL reads no {model_type!r}.", hint=f"It reads: {', '.join(FIL_FILES)}."
        )
    names = [t.name for t in (*facts["signature"].inputs, *facts["signature"].outputs)]
    if names != ["input__0", "output__0"]:
        raise PresetError(
            f"{facts['model']!r} names its tensors {names}; FIL's are input__0 and output__0.",
            hint="Rename them in the signature.",
        )
    switches = {"is_classifier": is_classifier, "predict_proba": predict_proba}
    config = _complete(facts, backend="fil", kind=kind)
    return replace(
        config,
        parameters={
            **config.parameters,
            "model_type": model_type,
            **{name: "true" if on else "false" for name, on in switches.items()},
        },
    )


def native_ensemble(*, steps: Sequence[EnsembleStep], **facts: Unpack[BuildFacts]) -> ModelConfig:
    """Return the configuration of a graph of models that callers see as one.

    Batches, instances and warm-up belong to the models of the graph, so `spec` says only how many
    rows a request may have, and samples are refused.

    Args:
        steps: The models and how their tensors are wired.
        **facts: The build; its signature is that of the whole graph.

    Raises:
        PresetError: The signature and the options contradict each other, or there are samples.
    """
    if facts.get("warmup"):
        raise PresetError(
            f"{facts['model']!r} is an ensemble, which Triton does not warm.",
            hint="Warm its models.",
        )
    return replace(
        _complete(facts, backend="", kind=InstanceKind.AUTO),
        platform="ensemble",
        dynamic_batching=None,
        response_cache=None,
        ensemble_scheduling=Ensembling(step=tuple(steps)),
        instance_group=(),
    )


def _complete(facts: BuildFacts, *, backend: str, kind: InstanceKind) -> ModelConfig:
    signature, spec = facts["signature"], facts["spec"]
    rows = spec.max_batch_size
    if rows and not signature.batched:
        raise PresetError(
            f"{facts['model']!r} has no batch dimension, yet max_batch_size is {rows}.",
            hint="Set max_batch_size to 0.",
        )
    return ModelConfig(
        name=facts["model"],
        backend=backend,
        version_policy=VersionPolicy(specific=SpecificVersions(versions=(facts["ordinal"],))),
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
                label_filename=facts.get("labels", {}).get(tensor.name, ""),
            )
            for tensor in signature.outputs
        ),
        dynamic_batching=_batching(spec),
        response_cache=ResponseCache(enable=True) if spec.response_cache else None,
        instance_group=(InstanceGroup(kind=kind, count=spec.instances),),
        parameters=dict(facts.get("parameters", {})),
        model_warmup=warmup_samples(
            facts.get("warmup", ()), signature=signature, max_batch_size=rows
        ),
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
    policy = None
    if spec.queue_size or spec.queue_timeout_us:
        policy = QueuePolicy(
            max_queue_size=spec.queue_size,
            default_timeout_microseconds=spec.queue_timeout_us,
            # a caller who waits for less may say so
            allow_timeout_override=spec.queue_timeout_us > 0,
        )
    levels = spec.priority_levels
    if spec.max_batch_size == 0 and not levels:
        return DynamicBatching(default_queue_policy=policy) if policy else None
    batched = spec.max_batch_size > 0
    return DynamicBatching(
        preferred_batch_size=spec.preferred_batch_sizes,
        max_queue_delay_microseconds=spec.queue_delay_us if batched else 0,
        priority_levels=levels,
        default_priority_level=(levels + 1) // 2,
        default_queue_policy=policy,
    )
