"""Models that are broken, dishonest or strange: refused by name, or served as they are.

Elsewhere: what hangs, crashes, eats memory or disk (`test_workbench`, `test_isolation`); weights
that are cut, missing or outside (`test_onnx_builds`); names on the wire (`tests/core`).
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlflow.models import ModelSignature
from onnx import TensorProto, helper

from conch.core import DYNAMIC, ConchError
from conch.model_repo_builder import (
    BuildError,
    BuildRequest,
    CorruptArtefactError,
    UnsupportedGraphError,
    build,
)
from conch.model_repo_builder.archives import check_archives

Requests = Callable[..., BuildRequest]
FLOAT = TensorProto.FLOAT

DATA = {
    "onnx": "data",
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "keras": "data",
    "tensorflow": "data",
}
"""The key under which each flavour names its file."""

_COLUMNS = (
    'signature:\n  inputs: \'[{"type": "double", "name": "a"}, {"type": "double", "name": "b"}]\'\n'
)


def labelled(folder: Path, flavour: str, file: str, more: str = "") -> Path:
    """A model folder of one flavour whose file is `file`."""
    folder.mkdir(exist_ok=True)
    text = f"flavors:\n  {flavour}:\n    {DATA[flavour]}: {file}\n{more}"
    (folder / "MLmodel").write_text(text + _COLUMNS)
    return folder


@pytest.mark.parametrize("flavour", DATA)
@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "link"])
def test_no_flavour_reads_outside_its_folder(
    flavour: str, place: str, tmp_path: Path, request_for: Requests
) -> None:
    """Neither by `..`, nor by an absolute path, nor through a link."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptArtefactError, match=r"outside the model folder|is a link"):
        build(request_for(labelled(folder, flavour, place)))


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_is_refused(
    kind: str, linear: Path, tmp_path: Path, request_for: Requests
) -> None:
    """A link to a file within, or a pipe that would never end, in a folder that is else whole."""
    folder = tmp_path / "model"
    shutil.copytree(linear, folder)
    if kind == "link":
        (folder / "more").symlink_to("model.onnx")
    else:
        os.mkfifo(folder / "more")
    with pytest.raises(CorruptArtefactError, match="link or a device"):
        build(request_for(folder))


@pytest.mark.parametrize(
    ("flavour", "name", "content"),
    [
        ("onnx", "model.onnx", b"tree\nversion=v4\n"),
        ("lightgbm", "model.lgb", b'{"learner": {}}'),
        ("xgboost", "model.ubj", b"tree\nversion=v4\n"),
        ("sklearn", "model.skops", b"\x08\x0aonnx"),
        ("keras", "model.keras", b"tree\nversion=v4\n"),
        ("onnx", "model.onnx", b""),
        ("xgboost", "model.ubj", b""),
    ],
)
def test_a_file_under_the_wrong_label_is_refused(
    flavour: str, name: str, content: bytes, tmp_path: Path, request_for: Requests
) -> None:
    """One framework's file called another's, and an empty one; in the framework's words."""
    more = "    serialization_format: skops\n" if flavour == "sklearn" else ""
    folder = labelled(tmp_path / "model", flavour, name, more)
    (folder / name).write_bytes(content)
    with pytest.raises(BuildError) as error:
        build(request_for(folder))
    assert error.value.code in ("corrupt-artefact", "unsupported-graph")
    assert error.value.hint


def test_a_bomb_is_not_unpacked(tmp_path: Path, request_for: Requests) -> None:
    """128 MiB of zeros in an eighth of a megabyte: told by the archive's own directory."""
    folder = labelled(tmp_path / "model", "keras", "model.keras")
    with (
        zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w", force_zip64=True) as member,
    ):
        block = bytes(8 * 1024**2)
        for _ in range(16):
            member.write(block)
    with pytest.raises(CorruptArtefactError, match="unpacks to 128"):
        build(request_for(folder))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/x", "a/../../x", "..\\x"])
def test_an_archive_that_leaves_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    """Whoever would unpack it."""
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(CorruptArtefactError, match="outside"):
        check_archives(tmp_path)


def test_common_archives_are_no_bombs(mlp: Path, tmp_path: Path) -> None:
    """A program of PyTorch's, and a small archive of zeros such as a fresh layer has."""
    check_archives(mlp)
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bias", bytes(1024**2))
    check_archives(tmp_path)


def test_five_gigabytes_of_weights_are_refused_by_their_size(
    log_onnx: Callable[..., Path], linear_graph: Any, request_for: Requests
) -> None:
    """Without reading them. The file is a stand-in: five sparse gigabytes of holes."""
    path = log_onnx(linear_graph)
    model = onnx.load(path / "model.onnx", load_external_data=False)
    (tensor,) = model.graph.initializer
    rows = 5 * 1024**3 // (4 * 4)
    del tensor.dims[:]
    tensor.dims.extend([rows, 4])
    for entry in tensor.external_data:
        if entry.key == "length":
            entry.value = str(rows * 16)
        if entry.key == "offset":
            entry.value = "0"
    (path / "model.onnx").write_bytes(model.SerializeToString())
    data = next(path.glob("*.data"))
    with data.open("r+b") as file:
        file.truncate(rows * 16)
    request = request_for(path)
    with pytest.raises(UnsupportedGraphError, match=r"5\.0 GiB; one ONNX file holds 2"):
        build(request)
    assert not request.output.exists()


def test_a_model_without_a_batch_is_served_without_one(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """A fixed vector in, one number out: `max_batch_size` 0, and shapes as they are."""
    graph = make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[("x", FLOAT, [4])],
        outputs=[("y", FLOAT, [2])],
        weights={"w": np.arange(8, dtype=np.float32).reshape(4, 2)},
    )
    manifest = build(request_for(log_onnx(graph)))
    assert (manifest.max_batch_size, manifest.signature.inputs[0].shape) == (0, (4,))


def test_an_output_without_dimensions_is_refused(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """A sum over everything is no row's answer, and Triton has no tensor for it."""
    graph = make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        inputs=[("x", FLOAT, ["n", 4])],
        outputs=[("y", FLOAT, [])],
    )
    request = request_for(log_onnx(graph))
    with pytest.raises(ConchError, match="'y' is a scalar") as error:
        build(request)
    assert "[1]" in str(error.value)
    assert not request.output.exists()


def test_an_optional_input_of_a_graph_keeps_its_default(
    log_onnx: Callable[..., Path], make_graph: Callable[..., Any], request_for: Requests
) -> None:
    """An initializer that is also an input has a value: callers need not, and cannot, send it."""
    graph = make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        inputs=[("x", FLOAT, ["n", 4]), ("scale", FLOAT, [1])],
        outputs=[("y", FLOAT, ["n", 4])],
        weights={"scale": np.array([3.0], np.float32)},
    )
    manifest = build(request_for(log_onnx(graph)))
    assert [tensor.name for tensor in manifest.signature.inputs] == ["x"]


def test_an_optional_input_of_the_registry_is_required_by_the_graph(
    log_onnx: Callable[..., Path],
    make_graph: Callable[..., Any],
    make_schema: Callable[..., Any],
    request_for: Requests,
) -> None:
    """Where the registry calls an input optional, the graph still has to name the same inputs."""
    graph = make_graph(
        [helper.make_node("Add", ["x", "z"], ["y"])],
        inputs=[("x", FLOAT, ["n", 4]), ("z", FLOAT, ["n", 4])],
        outputs=[("y", FLOAT, ["n", 4])],
    )
    inputs = make_schema(("x", "float32", (-1, 4)), ("z", "float32", (-1, 4)))
    path = log_onnx(graph, signature=ModelSignature(inputs=inputs))
    text = (path / "MLmodel").read_text()
    (path / "MLmodel").write_text(text.replace('"name": "z"', '"name": "z", "required": false'))
    manifest = build(request_for(path))
    assert [tensor.name for tensor in manifest.signature.inputs] == ["x", "z"]


def test_without_an_example_the_evidence_is_called_weak(
    log_onnx: Callable[..., Path], linear_graph: Any, request_for: Requests
) -> None:
    """It is built all the same; policy decides."""
    manifest = build(request_for(log_onnx(linear_graph)))
    assert not manifest.strong
    assert any("no input example" in weak for weak in manifest.weaknesses)
    assert manifest.signature.inputs[0].shape != (DYNAMIC,)
