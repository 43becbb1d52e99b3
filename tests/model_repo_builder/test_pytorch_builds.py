"""Models of MLflow's pytorch flavour become verified builds."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from conch.core import DYNAMIC, DType
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    MissingSignatureError,
    PickledModelError,
    UnsupportedGraphError,
    UnverifiedError,
    build,
    check_digest,
    read_manifest,
    read_report,
)
from conch.triton_configs import parse

Requests = Callable[..., BuildRequest]


def test_an_mlp_is_built(mlp: Path, request_for: Requests) -> None:
    """The published graph answers as the program does, and the manifest says what it is."""
    request = request_for(mlp)
    manifest = build(request)
    assert read_manifest(request.output) == manifest
    assert check_digest(request.output) == manifest.digest
    assert (manifest.flavour, manifest.max_batch_size, manifest.strong) == ("pytorch", 16, True)
    assert manifest.signature.batched
    assert manifest.signature.inputs[0].shape == (16,)
    rows = np.random.default_rng(9).standard_normal((5, 16)).astype(np.float32)
    program = torch.export.load(mlp / "data" / "model.pt2").module()
    version = request.output / "portable" / "digits" / "1"
    session = onnxruntime.InferenceSession(str(version / "model.onnx"))
    (answer,) = session.run(["output"], {manifest.signature.inputs[0].name: rows})
    np.testing.assert_allclose(
        answer, program(torch.from_numpy(rows)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_the_folder_holds_what_a_server_needs(mlp: Path, request_for: Requests) -> None:
    """Configuration, graph, compiled model.py and warm-up rows are there, and nothing hidden."""
    request = request_for(mlp)
    build(request)
    home = request.output / "portable" / "digits"
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    compiled = {name for name in files if name.startswith("1/__pycache__/model.cpython-")}
    assert len(compiled) == 1
    assert files - compiled == {"config.pbtxt", "1/model.onnx", "1/model.py", "warmup/input-0"}
    assert (home / next(iter(compiled))).read_bytes()[4:8] == b"\x01\x00\x00\x00"  # PEP 552
    config = parse((home / "config.pbtxt").read_text())
    assert [sample.batch_size for sample in config.model_warmup] == [1, 16]
    assert (home / "warmup" / "input-0").stat().st_size == 16 * 4
    native = request.output / "native" / "digits"
    kept = {path.relative_to(native).as_posix() for path in native.rglob("*") if path.is_file()}
    assert kept == {"config.pbtxt", "1/model.onnx", "warmup/input-0"}
    assert (native / "1/model.onnx").samefile(home / "1/model.onnx")
    assert sorted(path.name for path in request.output.iterdir()) == [
        "golden.json",
        "golden.npz",
        "manifest.json",
        "native",
        "portable",
        "report.json",
    ]


def test_a_cnn_with_batch_norm_is_built(cnn: Path, request_for: Requests) -> None:
    """Verification covers a batch norm with statistics of its own, at three batch sizes."""
    request = request_for(cnn)
    build(request)
    report = read_report(request.output)
    assert report.passed
    assert report.batch_sizes == (1, 7, 16)
    assert report.outputs[0].label_agreement == 1.0


def test_an_encoder_with_two_dynamic_axes_is_built(encoder: Path, request_for: Requests) -> None:
    """Outputs keep the names of the returned dict; the second axis is asked at two sizes."""
    request = request_for(encoder)
    manifest = build(request)
    assert [tensor.name for tensor in manifest.signature.outputs] == ["logits", "states"]
    assert manifest.signature.inputs[0].shape == (DYNAMIC, 8)
    (sizes,) = read_report(request.output).axes.values()
    assert len(sizes) == 2
    assert 7 in sizes


def test_an_embedding_is_asked_only_ids_that_it_knows(bag: Path, request_for: Requests) -> None:
    """Integers are taken from the range of the example, so that no row is refused."""
    request = request_for(bag)
    manifest = build(request)
    assert [(t.name, t.dtype) for t in manifest.signature.inputs] == [
        ("ids", DType.INT64),
        ("dense", DType.FP32),
    ]
    report = read_report(request.output)
    assert not [note for note in report.notes if "refuses" in note]
    assert report.rows > 50


def test_equal_requests_give_equal_files(mlp: Path, request_for: Requests) -> None:
    """The digest of a build depends on the source, the options and the seed only."""
    first = build(request_for(mlp))
    again = request_for(mlp)
    moved = BuildRequest.from_dict({**again.as_dict(), "output": str(again.output) + "-again"})
    assert build(moved).digest == first.digest


def test_a_static_batch_is_served_without_batching(
    log_torch: Callable[..., Path], request_for: Requests, make_schema: Callable[..., object]
) -> None:
    """One example row makes a program of one row: max_batch_size 0, and the report says why."""
    path = log_torch(
        torch.nn.Linear(4, 3).eval(),
        np.ones((1, 4), dtype=np.float32),
        make_schema(("", "float32", (-1, 4))),
    )
    manifest = build(request_for(path))
    assert manifest.max_batch_size == 0
    assert not manifest.signature.batched
    assert manifest.signature.inputs[0].shape == (1, 4)
    assert "two rows or more" in next(
        s["reason"] for s in manifest.steps if s["name"] == "batching"
    )


class _Centred(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


def test_rows_that_depend_on_their_batch_are_not_batched(
    log_torch: Callable[..., Path], request_for: Requests, make_schema: Callable[..., object]
) -> None:
    """A server must not join the rows of two callers where one changes the other's answer."""
    example = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    path = log_torch(_Centred().eval(), example, make_schema(("", "float32", (-1, 3))))
    manifest = build(request_for(path))
    assert manifest.max_batch_size == 0
    assert manifest.signature.inputs[0].shape == (DYNAMIC, 3)
    assert "depends on the other rows" in next(
        s["reason"] for s in manifest.steps if s["name"] == "batching"
    )


def test_a_model_in_training_mode_is_refused(
    log_torch: Callable[..., Path], request_for: Requests, make_schema: Callable[..., object]
) -> None:
    """Dropout that was left on answers differently each time, and the error says model.eval()."""
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5)).train()
    example = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    path = log_torch(module, example, make_schema(("", "float32", (-1, 8))))
    request = request_for(path)
    with pytest.raises(UnverifiedError, match=r"model\.eval"):
        build(request)
    assert not request.output.exists()


def test_a_pickled_model_is_refused(
    log_torch: Callable[..., Path], request_for: Requests, make_schema: Callable[..., object]
) -> None:
    """Nothing is unpickled; the error says how to log the model instead."""
    path = log_torch(
        torch.nn.Linear(4, 3),
        np.ones((2, 4), dtype=np.float32),
        make_schema(("", "float32", (-1, 4))),
        serialization_format="pickle",
    )
    with pytest.raises(PickledModelError, match="pt2"):
        build(request_for(path))


def test_without_pytorch_the_extra_is_named(mlp: Path) -> None:
    """The core install converts ONNX only; the error says what to install."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from conch.model_repo_builder import FrameworkMissingError\n"
        "from conch.model_repo_builder.loading import load_source\n"
        "from conch.model_repo_builder.mlflow_models import read_mlflow_model\n"
        "try:\n"
        "    load_source(read_mlflow_model(Path(sys.argv[1])))\n"
        "except FrameworkMissingError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(mlp)], capture_output=True, text=True, check=True
    )
    assert "conch[torch]" in done.stdout


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_hidden_in_a_program_is_not_run(
    mlp: Path, tmp_path: Path, request_for: Requests
) -> None:
    """PyTorch's own loader would run it: it falls back to unrestricted unpickling by itself."""
    mark, copy = tmp_path / "ran", tmp_path / "copy"
    shutil.copytree(mlp, copy)
    poison = io.BytesIO()
    torch.save((_Payload(mark),), poison)
    with (
        zipfile.ZipFile(mlp / "data" / "model.pt2") as before,
        zipfile.ZipFile(copy / "data" / "model.pt2", "w", zipfile.ZIP_STORED) as after,
    ):
        for name in before.namelist():
            sample = name.endswith("sample_inputs/model.pt")
            after.writestr(name, poison.getvalue() if sample else before.read(name))
    with pytest.raises((PickledModelError, CorruptArtefactError)):
        build(request_for(copy))
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(copy / "data" / "model.pt2")
    assert mark.exists(), "the archive is not poisonous: the test is void"


def test_a_model_without_signature_is_refused(
    mlp: Path, tmp_path: Path, request_for: Requests
) -> None:
    """MLflow writes one with every pt2 program; without it nobody knows what callers send."""
    copy = tmp_path / "copy"
    (copy / "data").mkdir(parents=True)
    (copy / "data" / "model.pt2").write_bytes((mlp / "data" / "model.pt2").read_bytes())
    (copy / "MLmodel").write_text("flavors:\n  pytorch:\n    model_data: data\n")
    with pytest.raises(MissingSignatureError):
        build(request_for(copy))


class _Sorted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x.unsqueeze(1))


def test_what_the_exporter_refuses_is_refused_in_its_words(
    log_torch: Callable[..., Path], request_for: Requests, make_schema: Callable[..., object]
) -> None:
    """There is no fallback to another exporter."""
    example = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    path = log_torch(_Sorted(), example, make_schema(("", "float32", (-1, 8))))
    with pytest.raises(UnsupportedGraphError, match="svd"):
        build(request_for(path))
