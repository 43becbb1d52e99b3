"""`portable_onnx`: a complete configuration for the Python backend."""

from __future__ import annotations

from typing import Any

import pytest

from conch.core import DType, Ordinal, ServingSpec, Signature, TensorSpec, TritonName
from conch.triton_configs import (
    InstanceKind,
    ModelConfig,
    PresetError,
    QueuePolicy,
    Reshape,
    WarmupFile,
    WarmupTensor,
    parse,
    portable_onnx,
    render,
)

X = TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 16))
Y = TensorSpec(name="y", dtype=DType.FP32, shape=(4,))
SIGNATURE = Signature(inputs=(X,), outputs=(Y,))


def build(
    signature: Signature = SIGNATURE, warmup: tuple[WarmupFile, ...] = (), **spec: Any
) -> ModelConfig:
    """Return the preset for the model that these tests share."""
    return portable_onnx(
        model=TritonName("digits"),
        ordinal=Ordinal(7),
        signature=signature,
        spec=ServingSpec(**spec),
        warmup=warmup,
    )


def sample(batch_size: int = 8, **changes: Any) -> WarmupFile:
    """Return a sample that fits the shared model unless told otherwise."""
    tensor = {"input": "x", "file": "x-8.bin", "dtype": DType.FP32, "dims": (3, 16), **changes}
    return WarmupFile(name="eight", batch_size=batch_size, tensors=(WarmupTensor(**tensor),))


def test_it_is_complete_and_survives_the_text() -> None:
    """Everything that auto-completion would guess is stated, and stays so in the text."""
    config = build(
        warmup=(sample(),),
        max_batch_size=32,
        queue_delay_us=250,
        instances=2,
        preferred_batch_sizes=(8, 32),
        queue_size=100,
    )
    assert parse(render(config)) == config
    assert (config.name, config.backend, config.max_batch_size) == ("digits", "python", 32)
    assert config.version_policy is not None
    assert config.version_policy.specific is not None
    assert config.version_policy.specific.versions == (7,)
    assert [(t.name, t.data_type, t.dims) for t in config.input] == [("x", DType.FP32, (-1, 16))]
    assert [(t.name, t.data_type, t.dims) for t in config.output] == [("y", DType.FP32, (4,))]
    assert [(g.kind, g.count) for g in config.instance_group] == [(InstanceKind.CPU, 2)]
    batching = config.dynamic_batching
    assert batching is not None
    assert batching.max_queue_delay_microseconds == 250
    assert batching.preferred_batch_size == (8, 32)
    assert batching.default_queue_policy == QueuePolicy(max_queue_size=100)
    (warmup,) = config.model_warmup
    assert (warmup.name, warmup.batch_size, warmup.count) == ("eight", 8, 1)
    assert warmup.inputs["x"].input_data_file == "x-8.bin"
    assert (warmup.inputs["x"].data_type, warmup.inputs["x"].dims) == (DType.FP32, (3, 16))


def test_a_scalar_per_row_is_reshaped() -> None:
    """Triton wants one dimension beside the batch; the model still sees none."""
    label = TensorSpec(name="label", dtype=DType.INT64, shape=())
    config = build(Signature(inputs=(X,), outputs=(label,)))
    assert (config.output[0].dims, config.output[0].reshape) == ((1,), Reshape(shape=()))


def test_without_server_batching_the_batch_is_a_dimension() -> None:
    """`max_batch_size` 0 leaves a batched model's leading dimension to the caller."""
    config = build(max_batch_size=0, warmup=(sample(batch_size=1, dims=(2, 3, 16)),))
    assert (config.input[0].dims, config.output[0].dims) == ((-1, -1, 16), (-1, 4))
    assert config.dynamic_batching is None


def test_a_queue_limit_needs_no_batch_dimension() -> None:
    """A model that takes one request at a time can still refuse a long queue."""
    config = build(max_batch_size=0, queue_size=5)
    assert config.dynamic_batching is not None
    assert config.dynamic_batching.default_queue_policy == QueuePolicy(max_queue_size=5)
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": DType.FP64},
        {"dims": (3, 15)},
        {"dims": (-1, 16)},
        {"dims": (8, 3, 16)},
        {"input": "z"},
        {"batch_size": 65},
        {"batch_size": 0},
    ],
    ids=["dtype", "dims", "variable", "with-batch", "name", "too-many-rows", "no-row"],
)
def test_a_sample_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    """A warm-up that the server would fail on, or skip, is an error at build time."""
    with pytest.raises(PresetError, match="eight"):
        build(warmup=(sample(**change),))


def test_batching_needs_a_batch_dimension() -> None:
    """A signature without a batch dimension cannot be batched by the server."""
    with pytest.raises(PresetError, match="no batch dimension"):
        build(Signature(inputs=(X,), outputs=(Y,), batched=False), max_batch_size=4)


def test_a_scalar_needs_a_batch_dimension() -> None:
    """Triton has no tensor without any dimension."""
    label = TensorSpec(name="label", dtype=DType.INT64, shape=())
    with pytest.raises(PresetError, match="scalar"):
        build(Signature(inputs=(X,), outputs=(label,), batched=False), max_batch_size=0)
