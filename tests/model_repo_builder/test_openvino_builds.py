"""OpenVINO variants are made from the proven graph, proven themselves, and served as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.models import ModelSignature
from onnx import TensorProto, helper

from conch.core import ModelFormat, Precision, ServingSpec
from conch.model_repo_builder import BuildRequest, UnsupportedGraphError, build, read_report
from conch.model_repo_builder.portable_model import Representation
from conch.triton_configs import lint, parse

openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")

Requests = Callable[..., BuildRequest]
FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="module")
def images(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], make_schema: Callable[..., Any]
) -> Path:
    """A small network over images, float32[n, 3, 12, 12] -> float32[n, 5], with 64 rows."""
    random = np.random.default_rng(0)
    graph = make_graph(
        [
            helper.make_node("Conv", ["x", "W", "b"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "H"], ["scores"]),
        ],
        inputs=[("x", FLOAT, ["n", 3, 12, 12])],
        outputs=[("scores", FLOAT, ["n", 5])],
        weights={
            "W": random.standard_normal((16, 3, 3, 3)).astype(np.float32),
            "b": random.standard_normal(16).astype(np.float32),
            "H": random.standard_normal((16, 5)).astype(np.float32),
        },
    )
    example = random.normal(0.5, 1.0, (64, 3, 12, 12)).astype(np.float32)
    schema = make_schema(("x", "float32", (-1, 3, 12, 12)))
    return log_onnx(graph, input_example=example, signature=ModelSignature(inputs=schema))


@pytest.fixture(scope="module")
def lossy(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Build with options, once per set of them."""
    made: dict[str, Any] = {}

    def of(request: BuildRequest, name: str, **options: Any) -> Any:
        if name not in made:
            spec = ServingSpec(max_batch_size=16, **options)
            output = tmp_path_factory.mktemp("builds") / "1"
            made[name] = build(replace(request, source=images, output=output, spec=spec))
        return made[name]

    return of


def test_every_precision_is_proven_within_its_own_tolerance(
    images: Path, lossy: Callable[..., Any], request_for: Requests
) -> None:
    """FP32 to seven digits; FP16 and INT8 lose digits, and are known by it."""
    manifest = lossy(request_for(images), "all", lossy=True)
    reports = json.loads((manifest.path / "report.json").read_text())["variants"]
    largest = {
        name: one["outputs"][0]["max_abs"] / one["outputs"][0]["scale"]
        for name, one in reports.items()
    }
    assert set(largest) == {"onnx:fp32", "openvino:fp32", "openvino:fp16", "openvino:int8"}
    assert largest["openvino:fp32"] < 1e-5 < largest["openvino:fp16"] < largest["openvino:int8"]
    rows = {row["name"]: row for row in manifest.variants}
    assert set(rows) == {*largest, "source"}
    assert all(set(row["times_us"]) == {"1", "8", "16"} for row in rows.values())
    assert [name for name, row in rows.items() if row["serves"]] == [manifest.variant]


def test_digits_are_kept_unless_somebody_gives_them_up(
    images: Path, lossy: Callable[..., Any], request_for: Requests
) -> None:
    """By default no coarser precision is even made, and the report says how to have it."""
    manifest = lossy(request_for(images), "default")
    steps = {step["name"]: step for step in manifest.steps}
    assert steps["openvino:fp32"]["taken"]
    for name in ("openvino:fp16", "openvino:int8"):
        assert not steps[name]["taken"]
        assert "triton.lossy" in steps[name]["reason"]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_a_pinned_build_serves_what_was_proven(
    images: Path, lossy: Callable[..., Any], request_for: Requests, precision: Precision
) -> None:
    """Both flavours hold the files; `model.py`'s own engine answers the golden rows from them."""
    manifest = lossy(
        request_for(images), precision, format=ModelFormat.OPENVINO, precision=precision
    )
    assert manifest.variant == f"openvino:{precision}"
    assert manifest.flavours == {
        "portable": manifest.variant,
        "native": f"{manifest.variant} openvino",
    }
    version = manifest.path / "portable/digits/1"
    engine = Representation(str(version / "model.xml"))
    tolerance = read_report(manifest.path).outputs[0].tolerance
    with np.load(manifest.path / "golden.npz") as golden:
        inputs, expected = golden["0/in/0"], golden["0/out/0"]
    (answer,) = engine.run({"x": inputs}, ["scores"])
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(answer, expected, rtol=tolerance.rtol, atol=tolerance.atol * scale)
    native = manifest.path / "native/digits"
    assert (native / "1/model.bin").samefile(version / "model.bin")
    config = parse((native / "config.pbtxt").read_text())
    assert lint(config, triton="26.05-py3", folder="digits", versions=(1,)) == ()
    assert (config.backend, config.default_model_filename) == ("openvino", "model.xml")


def test_int8_answers_are_the_same_without_vnni(
    images: Path, lossy: Callable[..., Any], request_for: Requests
) -> None:
    """Two products with an activation of 255 fit 16 bits, so that no processor saturates."""
    pin = {"format": ModelFormat.OPENVINO, "precision": Precision.INT8}
    manifest = lossy(request_for(images), Precision.INT8, **pin)
    model = openvino.Core().read_model(manifest.path / "native/digits/1/model.xml")
    weights = [one.data for one in model.get_ops() if one.get_type_name() == "Constant"]
    eight = [one.astype(int) for one in weights if one.dtype == np.int8]
    assert len(eight) == 2  # of the convolution and of the product
    assert all(np.abs(one).max() > 16 and 2 * 255 * np.abs(one).max() < 2**15 for one in eight)


def test_weights_in_half_take_half_the_room(
    images: Path, lossy: Callable[..., Any], request_for: Requests
) -> None:
    """FP16 is about size."""
    sizes = {}
    for precision in (Precision.FP32, Precision.FP16):
        manifest = lossy(
            request_for(images), precision, format=ModelFormat.OPENVINO, precision=precision
        )
        sizes[precision] = (manifest.path / "native/digits/1/model.bin").stat().st_size
    assert sizes[Precision.FP16] < 0.6 * sizes[Precision.FP32]


def test_int8_wants_rows_to_calibrate_with(linear: Path, request_for: Requests) -> None:
    """Six rows of an example set no range; where INT8 is insisted on, the build is refused."""
    spec = ServingSpec(max_batch_size=16, precision=Precision.INT8)
    with pytest.raises(UnsupportedGraphError, match="calibration wants 32 rows"):
        build(replace(request_for(linear), spec=spec))


def test_reference_rows_calibrate_where_they_are_named(
    images: Path, request_for: Requests, tmp_path: Path
) -> None:
    """Rows that a person names are taken instead of the example's."""
    rows = np.random.default_rng(1).normal(0.5, 1.0, (40, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    spec = ServingSpec(max_batch_size=16, precision=Precision.INT8)
    request = replace(request_for(images), spec=spec, reference=tmp_path / "rows.npz")
    manifest = build(request)
    assert manifest.variant == "openvino:int8"
    reasons = {step["name"]: step["reason"] for step in manifest.steps}
    assert reasons["calibration"] == "NNCF on 40 rows in 5 batches"


def test_a_pin_that_cannot_be_is_refused_with_the_reason(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """Never something else in silence."""
    graph = make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        inputs=[("x", TensorProto.DOUBLE, ["n", 4])],
        outputs=[("y", TensorProto.DOUBLE, ["n", 4])],
    )
    spec = ServingSpec(format=ModelFormat.OPENVINO)
    with pytest.raises(UnsupportedGraphError, match="OpenVINO in Triton takes no FP64"):
        build(replace(request_for(log_onnx(graph)), spec=spec))


def test_two_builds_of_one_pin_are_equal_files(images: Path, request_for: Requests) -> None:
    """The representation is written alike each time, as the graph is."""
    spec = ServingSpec(max_batch_size=16, format=ModelFormat.OPENVINO)
    digests = {
        build(replace(request_for(images, ordinal=1), output=place, spec=spec)).digest
        for place in (request_for(images).output / "a", request_for(images).output / "b")
    }
    assert len(digests) == 1
