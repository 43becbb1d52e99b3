"""Native presets: complete, clean and equal in what a caller sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from conch.core import DType, Ordinal, ServingSpec, Signature, TensorSpec, TritonName
from conch.triton_configs import (
    EnsembleStep,
    InstanceKind,
    ModelConfig,
    PresetError,
    Severity,
    WarmupFile,
    WarmupTensor,
    lint,
    native_ensemble,
    native_fil,
    native_onnx,
    native_openvino,
    native_python,
    native_pytorch,
    native_tensorrt,
    parse,
    portable_onnx,
    render,
)

SIGNATURE = Signature(
    inputs=(TensorSpec(name="input__0", dtype=DType.FP32, shape=(16,)),),
    outputs=(TensorSpec(name="output__0", dtype=DType.FP32, shape=(4,)),),
)
SAMPLES = tuple(
    WarmupFile(
        name=f"batch-{rows}",
        batch_size=rows,
        tensors=(WarmupTensor(input="input__0", file="row.bin", dtype=DType.FP32, dims=(16,)),),
    )
    for rows in (1, 32)
)
FACTS: dict[str, Any] = {
    "model": TritonName("digits"),
    "ordinal": Ordinal(7),
    "signature": SIGNATURE,
    "spec": ServingSpec(max_batch_size=32, preferred_batch_sizes=(32,)),
    "warmup": SAMPLES,
}
PRESETS: dict[str, tuple[Callable[..., ModelConfig], str]] = {
    "portable_onnx": (portable_onnx, "2.51.0-python"),
    "native_python": (native_python, "2.51.0-python"),
    "native_onnx": (native_onnx, "26.05-py3"),
    "native_onnx_gpu": (partial(native_onnx, kind=InstanceKind.GPU), "26.05-py3"),
    "native_openvino": (native_openvino, "26.05-cpu-only"),
    "native_openvino_onnx": (partial(native_openvino, filename="model.onnx"), "26.05-py3"),
    "native_tensorrt": (native_tensorrt, "26.05-py3"),
    "native_pytorch": (native_pytorch, "26.05-pyt-python-py3"),
    "native_fil": (
        partial(native_fil, model_type="xgboost_ubj", is_classifier=True, predict_proba=True),
        "26.05-py3",
    ),
}
AOTI = {**FACTS, "spec": ServingSpec(max_batch_size=1), "warmup": SAMPLES[:1]}
STEPS = (
    EnsembleStep(
        model_name="scale",
        model_version=-1,
        input_map={"raw": "input__0"},
        output_map={"scaled": "between"},
    ),
    EnsembleStep(
        model_name="classify",
        model_version=-1,
        input_map={"x": "between"},
        output_map={"y": "output__0"},
    ),
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_clean_and_survives_the_text(name: str) -> None:
    """The linter has neither an error nor a warning about a preset on a server for it."""
    preset, triton = PRESETS[name]
    config = preset(**FACTS)
    assert parse(render(config)) == config
    found = lint(config, triton=triton, folder="digits", versions={6, 7})
    assert [str(f) for f in found if f.severity is not Severity.INFO] == []


@pytest.mark.parametrize("name", PRESETS)
def test_flavours_look_the_same_to_a_caller(name: str) -> None:
    """Tensors, batching and versions do not depend on the backend."""
    config, portable = PRESETS[name][0](**FACTS), portable_onnx(**FACTS)
    for field in (
        "name",
        "max_batch_size",
        "input",
        "output",
        "dynamic_batching",
        "version_policy",
        "model_warmup",
    ):
        assert getattr(config, field) == getattr(portable, field)


def test_an_aot_package_takes_single_rows() -> None:
    """AOTInductor: clean from 26.03 on with single rows, refused with more."""
    config = native_pytorch(platform="torch_aoti", **AOTI)
    assert [f for f in lint(config, triton="26.03") if f.severity is Severity.ERROR] == []
    with pytest.raises(PresetError, match="no batches above 1"):
        native_pytorch(platform="torch_aoti", **FACTS)


def test_fil_states_its_format_and_switches() -> None:
    """FIL's options are strings in the parameters."""
    config = native_fil(model_type="lightgbm", is_classifier=False, **FACTS)
    assert config.parameters == {
        "model_type": "lightgbm",
        "is_classifier": "false",
        "predict_proba": "false",
    }


@pytest.mark.parametrize(
    ("model_type", "names"),
    [("catboost", ("input__0", "output__0")), ("lightgbm", ("x", "output__0"))],
    ids=["format", "names"],
)
def test_what_fil_cannot_serve_is_refused(model_type: str, names: tuple[str, str]) -> None:
    """A format or a tensor name that FIL does not know is an error at build time."""
    signature = Signature(
        inputs=(TensorSpec(name=names[0], dtype=DType.FP32, shape=(16,)),),
        outputs=(TensorSpec(name=names[1], dtype=DType.FP32, shape=(4,)),),
    )
    facts = {**FACTS, "signature": signature, "warmup": ()}
    with pytest.raises(PresetError):
        native_fil(model_type=model_type, is_classifier=True, **facts)


def test_an_ensemble_has_only_what_triton_allows() -> None:
    """No backend, instances, batcher or samples of its own, and a graph that is sound."""
    config = native_ensemble(steps=STEPS, **{**FACTS, "warmup": ()})
    assert parse(render(config)) == config
    assert [str(f) for f in lint(config, triton="26.05")] == []
    with pytest.raises(PresetError, match="ensemble"):
        native_ensemble(steps=STEPS, **FACTS)
