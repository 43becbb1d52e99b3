"""What TensorRT is given: graphs typed in FP16 and INT8, proven here without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conch.core import ModelFormat, Profile, ServingSpec
from conch.model_repo_builder import BuildRequest, UnsupportedGraphError, build
from conch.model_repo_builder.onnx_precisions import write_eight_bits, write_half
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.tensorrt_probe import tensorrt_problem
from conch.triton_configs import InstanceKind, lint, parse

FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="module")
def network(make_graph: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float32[n, 16] -> float32[n, 4] by two matrix products."""
    random = np.random.default_rng(0)
    graph = make_graph(
        [
            helper.make_node("MatMul", ["x", "A"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "B"], ["y"]),
        ],
        inputs=[("x", FLOAT, ["n", 16])],
        outputs=[("y", FLOAT, ["n", 4])],
        weights={
            "A": random.standard_normal((16, 32)).astype(np.float32),
            "B": random.standard_normal((32, 4)).astype(np.float32),
        },
    )
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(graph, path)
    return path


def test_a_graph_in_half_is_typed_in_half(network: Path, tmp_path: Path) -> None:
    """Weights are FP16, tensors on the wire are not, answers agree to three digits."""
    write_half(network, tmp_path / "half.onnx")
    half = onnx.load(tmp_path / "half.onnx")
    assert {weight.data_type for weight in half.graph.initializer} == {TensorProto.FLOAT16}
    assert half.graph.input[0].type.tensor_type.elem_type == FLOAT
    _near(network, tmp_path / "half.onnx", 4e-3)


def test_a_graph_in_eight_bits_quantises_around_zero(network: Path, tmp_path: Path) -> None:
    """TensorRT's integers are symmetric: every zero point is zero; answers stay near."""
    rows = np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)
    batches = [{"x": rows[start : start + 8]} for start in range(0, 64, 8)]
    write_eight_bits(network, tmp_path / "eight.onnx", batches)
    graph = onnx.load(tmp_path / "eight.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    points = [one for one in graph.initializer if one.name.endswith("zero_point")]
    assert points
    assert all(not onnx.numpy_helper.to_array(one).any() for one in points)
    _near(network, tmp_path / "eight.onnx", 0.15)


def test_without_a_gpu_the_graph_is_laid_out_for_the_accelerator(
    linear: Path, request_for: Callable[..., BuildRequest]
) -> None:
    """Said plainly: nothing pretends to be a plan, and a pin on TensorRT is refused."""
    problem = tensorrt_problem()
    if not problem:
        pytest.skip("TensorRT and a GPU are here: see test_a_plan_answers")
    request = replace(request_for(linear), profile=Profile.GPU)
    manifest = build(request)
    reasons = {step["name"]: step["reason"] for step in manifest.steps}
    assert reasons["tensorrt:fp32"] == problem
    assert "TensorRT execution accelerator" in reasons["native"]
    config = parse((manifest.path / "native/digits/config.pbtxt").read_text())
    assert lint(config, triton="26.05-py3", folder="digits", versions=(1,)) == ()
    assert config.instance_group[0].kind is InstanceKind.GPU
    assert config.optimization is not None
    accelerators = config.optimization.execution_accelerators
    assert accelerators is not None
    assert accelerators.gpu_execution_accelerator[0].name == "tensorrt"
    spec = ServingSpec(max_batch_size=16, format=ModelFormat.TENSORRT)
    output = request.output.with_name("2")
    with pytest.raises(UnsupportedGraphError, match="tensorrt:fp32"):
        build(replace(request, spec=spec, output=output))


@pytest.mark.skipif(bool(tensorrt_problem()), reason=f"TensorRT: {tensorrt_problem()}")
def test_a_plan_answers(linear: Path, request_for: Callable[..., BuildRequest]) -> None:
    """Where a GPU and TensorRT are, a plan is built, proven and tied to both."""
    spec = ServingSpec(max_batch_size=16, format=ModelFormat.TENSORRT)
    manifest = build(replace(request_for(linear), spec=spec, profile=Profile.GPU))
    assert manifest.variant == "tensorrt:fp32"
    assert manifest.tools.keys() >= {"tensorrt", "gpu", "compute-capability"}
    assert (manifest.path / "native/digits/1/model.plan").stat().st_size > 0


def _near(left: Path, right: Path, share: float) -> None:
    rows = {"x": np.random.default_rng(2).standard_normal((32, 16)).astype(np.float32)}
    want, have = (OnnxSession(path.read_bytes()).run(rows)["y"] for path in (left, right))
    assert 0 < np.sqrt(np.mean((have - want) ** 2)) < share * np.sqrt(np.mean(want**2))
