"""Models of MLflow's onnx flavour, whose weights lie beside the graph, become verified builds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from onnx import TensorProto, helper

from conch.core import DType
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    MissingInputExampleError,
    RuntimeCapsError,
    SignatureMismatchError,
    UnknownFlavourError,
    UnsupportedGraphError,
    build,
    read_report,
)

Requests = Callable[..., BuildRequest]
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def test_external_weights_are_merged_into_one_file(
    linear: Path, linear_graph: Any, request_for: Requests
) -> None:
    """The published graph stands alone and answers what the logged one answers."""
    assert list(linear.glob("*.data")), "MLflow logged no external data: the test is void"
    request = request_for(linear)
    manifest = build(request)
    version = request.output / "portable" / "digits" / "1"
    assert sorted(p.name for p in version.iterdir()) == ["__pycache__", "model.onnx", "model.py"]
    found = onnx.load(version / "model.onnx", load_external_data=False)
    assert found.graph.initializer[0].raw_data == linear_graph.graph.initializer[0].raw_data
    assert manifest.flavour == "onnx"
    assert manifest.strong


def test_weights_outside_the_folder_are_refused(
    linear: Path, tmp_path: Path, request_for: Requests
) -> None:
    """Neither `..`, nor an absolute path, nor a link gets a file from elsewhere into a build."""
    data = next(linear.glob("*.data"))
    secret = tmp_path / "secret"
    shutil.copy(data, secret)
    for number, location in enumerate(["../secret", str(secret), "link"]):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(linear, copy)
        (copy / data.name).unlink()
        if location == "link":
            (copy / "link").symlink_to(secret)
        model = onnx.load(copy / "model.onnx", load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        (copy / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(CorruptArtefactError, match=r"outside the model folder|is a link"):
            build(request_for(copy))


def test_weights_cut_short_are_refused(linear: Path, tmp_path: Path, request_for: Requests) -> None:
    """A partial download is told from a whole one."""
    copy = tmp_path / "copy"
    shutil.copytree(linear, copy)
    data = next(copy.glob("*.data"))
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(CorruptArtefactError, match="cut short"):
        build(request_for(copy))
    data.unlink()
    with pytest.raises(CorruptArtefactError, match="missing"):
        build(request_for(copy))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("MLmodel", b"{ not yaml", id="mlmodel"),
        pytest.param("MLmodel", b"[]", id="mlmodel-of-another-shape"),
        pytest.param("model.onnx", b"\xff\x00garbage", id="graph"),
        pytest.param("input_example.json", b"{", id="example"),
    ],
)
def test_a_corrupt_file_is_refused(
    linear: Path, tmp_path: Path, request_for: Requests, file: str, content: bytes
) -> None:
    """Every file that a build reads is told apart from a bug of the builder."""
    copy = tmp_path / "copy"
    shutil.copytree(linear, copy)
    (copy / file).write_bytes(content)
    with pytest.raises(CorruptArtefactError):
        build(request_for(copy))


@pytest.mark.parametrize(("opset", "ir_version"), [(27, 10), (20, 14)])
def test_a_graph_newer_than_the_runtime_is_refused(
    log_onnx: Callable[..., Path],
    make_graph: Callable[..., Any],
    request_for: Requests,
    opset: int,
    ir_version: int,
) -> None:
    """It would build here, and fail on the server."""
    graph = make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        inputs=[("x", FLOAT, ["n", 4])],
        outputs=[("y", FLOAT, ["n", 4])],
        opset=opset,
        ir_version=ir_version,
    )
    with pytest.raises(RuntimeCapsError, match=r"1\.27\.0"):
        build(request_for(log_onnx(graph)))


def test_a_signature_of_another_model_is_refused(
    log_onnx: Callable[..., Path],
    linear_graph: Any,
    make_schema: Callable[..., Any],
    request_for: Requests,
) -> None:
    """Callers read the registry: what it says must be what is served."""
    wrong = make_schema(("a", "float32", (-1, 599)), ("b", "float32", (-1, 4)))
    path = log_onnx(linear_graph, signature=ModelSignature(inputs=wrong))
    with pytest.raises(SignatureMismatchError, match="599"):
        build(request_for(path))


def test_text_is_asked_from_the_example(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """A graph of text columns is built with an example, and refused without one."""
    graph = make_graph(
        [helper.make_node("StringConcat", ["s", "s"], ["t"])],
        inputs=[("s", STRING, [None])],
        outputs=[("t", STRING, [None])],
    )
    with pytest.raises(MissingInputExampleError, match="'s'"):
        build(request_for(log_onnx(graph)))
    example = pd.DataFrame({"s": ["red", "grün", "blue"]})
    path = log_onnx(graph, input_example=example, signature=infer_signature(example))
    manifest = build(request_for(path))
    assert manifest.signature.inputs[0].dtype is DType.BYTES
    assert manifest.strong


def test_integers_without_an_example_are_found_by_asking(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """A table of 12 rows takes 0 to 11; the widest range that it takes everywhere is used."""
    graph = make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        inputs=[("ids", INT64, ["n", "length"])],
        outputs=[("y", FLOAT, ["n", "length", 3])],
        weights={"table": np.arange(36, dtype=np.float32).reshape(12, 3)},
    )
    manifest = build(request_for(log_onnx(graph)))
    report = read_report(manifest.path)
    assert not [note for note in report.notes if "refuses" in note]
    assert report.outputs[0].max_abs == 0


def test_a_map_is_not_served(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """The probabilities of a scikit-learn classifier with zipmap are refused with advice."""
    graph = make_graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        inputs=[("x", FLOAT, ["n", 2])],
        outputs=[],
    )
    graph.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3)])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    )
    graph.graph.output.extend([helper.make_value_info("y", kind)])
    with pytest.raises(UnsupportedGraphError, match="zipmap"):
        build(request_for(log_onnx(graph)))


def test_an_unknown_flavour_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """The error names what the model is and what conch converts."""
    (tmp_path / "MLmodel").write_text("flavors:\n  prophet: {}\n")
    with pytest.raises(UnknownFlavourError, match=r"prophet.*onnx, pytorch"):
        build(request_for(tmp_path))
