"""Model files become MLflow model folders without their framework."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from mlflow_fixtures import scaling_onnx

from conch.control.registry import ModelFileError
from conch.control.registry.packing import Pack, mlmodel_text, pack
from conch.core import DType, Signature, TensorSpec


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "scaling.onnx"
    onnx.save(scaling_onnx(), str(path))
    return path


def tensors(packed: Pack, side: str) -> Any:
    return json.loads(packed.mlmodel["signature"][side])


def test_the_signature_of_an_onnx_file_is_read_from_its_graph(
    onnx_file: Path, scratch: Path
) -> None:
    """Names, types and shapes come from the graph; weights are no inputs; rows are dynamic."""
    packed = pack(onnx_file, scratch)
    spec = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}
    assert tensors(packed, "inputs") == [{"name": "x", **spec}]
    assert tensors(packed, "outputs") == [{"name": "y", **spec}]
    assert packed.files == {"model.onnx": onnx_file}


def test_mlflow_reads_what_is_written(onnx_file: Path, scratch: Path, tmp_path: Path) -> None:
    """MLflow's own classes read the folder's description, signature and example."""
    from mlflow.models import Model

    rows = np.array([[1.0, np.nan, 3.0, 4.0]], np.float32)
    np.savez(tmp_path / "example.npz", x=rows)
    packed = pack(onnx_file, scratch, input_example=tmp_path / "example.npz")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "MLmodel").write_text(mlmodel_text(packed.mlmodel))
    for name, file in packed.files.items():
        (folder / name).write_bytes(file.read_bytes())
    model = Model.load(str(folder))
    assert model.signature.inputs.input_names() == ["x"]
    assert model.signature.outputs.numpy_types() == [np.dtype(np.float32)]
    example = model.load_input_example(str(folder))
    np.testing.assert_array_equal(example["x"], rows)


def test_a_given_signature_counts_more_than_the_graph(onnx_file: Path, scratch: Path) -> None:
    """A person may name sizes that the graph leaves open."""
    spec = TensorSpec(name="x", dtype=DType.FP32, shape=(4,))
    given = Signature(inputs=(spec,), outputs=(spec,), batched=False)
    packed = pack(onnx_file, scratch, signature=given)
    assert tensors(packed, "outputs")[0]["tensor-spec"]["shape"] == [4]


def test_weights_beside_an_onnx_file_come_along(tmp_path: Path, scratch: Path) -> None:
    """A model that keeps its weights in another file is packed with that file."""
    path = tmp_path / "model.onnx"
    external(path, "weights.bin")
    assert pack(path, scratch).files == {
        "model.onnx": path,
        "weights.bin": tmp_path / "weights.bin",
    }


@pytest.mark.parametrize(
    ("location", "message"),
    [("/etc/passwd", "outside"), ("../weights.bin", "outside"), ("absent.bin", "not beside")],
)
def test_weights_elsewhere_are_refused(
    location: str, message: str, tmp_path: Path, scratch: Path
) -> None:
    """A graph cannot make conch upload files that do not belong to it."""
    path = tmp_path / "model.onnx"
    model = external(path, "weights.bin")
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=message):
        pack(path, scratch)


def test_a_pt2_file_takes_its_inputs_from_the_example(tmp_path: Path, scratch: Path) -> None:
    """Without a signature, the example says what the inputs are, and nothing says the outputs."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    np.save(tmp_path / "example.npy", np.zeros((2, 3), np.int64))
    packed = pack(path, scratch, input_example=tmp_path / "example.npy")
    assert tensors(packed, "inputs") == [
        {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1, 3]}}
    ]
    assert packed.mlmodel["signature"]["outputs"] is None
    assert packed.files["data/model.pt2"] == path


def test_an_mlflow_folder_keeps_what_it_has(tmp_path: Path, scratch: Path) -> None:
    """A folder that MLflow saved is taken as it is, all files and its own description."""
    folder = tmp_path / "saved"
    (folder / "data").mkdir(parents=True)
    content = {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}, "signature": None}
    (folder / "MLmodel").write_text(yaml.safe_dump(content))
    (folder / "data" / "model.pkl").write_bytes(b"x")
    packed = pack(folder, scratch)
    assert packed.mlmodel == content
    assert packed.files == {"data/model.pkl": folder / "data" / "model.pkl"}


def test_a_folder_with_links_is_refused(tmp_path: Path, scratch: Path) -> None:
    """A link could carry any file of this machine into the registry."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
    (folder / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(ModelFileError, match="link"):
        pack(folder, scratch)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"", "no ONNX model"),
        ("model.onnx", b"\xff" * 64, "no readable ONNX model"),
        ("model.pt2", b"not a zip", "no archive"),
        ("model.pkl", b"x", "no model file"),
        ("MLmodel/MLmodel", b"{}", "no MLflow model folder"),
        ("MLmodel/MLmodel", b"[: bad", "no MLflow model folder"),
        ("MLmodel/other", b"", "no MLflow model folder"),
    ],
)
def test_other_files_are_refused(
    name: str, content: bytes, message: str, tmp_path: Path, scratch: Path
) -> None:
    """What is not a model is refused before anything is uploaded."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    path = file.parent if file.parent != tmp_path else file
    with pytest.raises(ModelFileError, match=message):
        pack(path, scratch)


def test_an_archive_of_torch_save_is_refused(tmp_path: Path, scratch: Path) -> None:
    """A state dict is a zip archive too, but holds no program."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(ModelFileError, match=r"not one of torch\.export"):
        pack(path, scratch)


def test_a_framework_that_is_insisted_on_is_checked(onnx_file: Path, scratch: Path) -> None:
    """Calling an ONNX file a PyTorch model is an error, not a guess."""
    assert pack(onnx_file, scratch, framework="onnx").files
    with pytest.raises(ModelFileError, match="no 'pytorch' model"):
        pack(onnx_file, scratch, framework="pytorch")


@pytest.mark.parametrize(
    "array",
    [np.float32(1), np.zeros((0, 4), np.float32), np.array([{}], object)],
    ids=["scalar", "no rows", "objects"],
)
def test_examples_without_rows_are_refused(
    array: Any, onnx_file: Path, scratch: Path, tmp_path: Path
) -> None:
    """An example that shows nothing, or that would run code to load, is refused."""
    np.save(tmp_path / "example.npy", array)
    with pytest.raises(ModelFileError, match=r"example\.npy"):
        pack(onnx_file, scratch, input_example=tmp_path / "example.npy")


def external(path: Path, location: str) -> Any:
    """Save the scaling model with its weight in another file; return it without the weight."""
    onnx.save(
        scaling_onnx(),
        str(path),
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return onnx.load(str(path), load_external_data=False)
