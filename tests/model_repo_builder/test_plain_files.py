"""Files that frameworks wrote, not MLflow, become model folders that are built and verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
import xgboost

from conch.control.registry import ModelFileError
from conch.control.registry.packing import mlmodel_text, pack
from conch.model_repo_builder import BuildRequest, build

Requests = Callable[..., BuildRequest]
ROWS = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
ANSWERS = ROWS @ np.array([1.0, -2.0, 0.5, 3.0], np.float32)


def _program(folder: Path) -> Path:
    shapes = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(
        torch.nn.Linear(4, 3).eval(), (torch.from_numpy(ROWS),), dynamic_shapes=shapes
    )
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def _script(folder: Path) -> Path:
    torch.jit.script(torch.nn.Linear(4, 3).eval()).save(str(folder / "model.pt"))
    return folder / "model.pt"


def _keras(folder: Path) -> Path:
    import keras

    layers = [keras.Input((4,), name="rows"), keras.layers.Dense(3)]
    keras.Sequential(layers).save(folder / "model.keras")
    return folder / "model.keras"


def _saved_model(folder: Path) -> Path:
    import keras

    layers = [keras.Input((4,), name="rows"), keras.layers.Dense(3)]
    keras.Sequential(layers).export(str(folder / "saved"), verbose=False)
    return folder / "saved"


def _xgboost(folder: Path) -> Path:
    trained = xgboost.XGBRegressor(n_estimators=4).fit(ROWS, ANSWERS)
    trained.get_booster().save_model(folder / "model.ubj")
    return folder / "model.ubj"


def _lightgbm(folder: Path) -> Path:
    trained = lightgbm.LGBMRegressor(n_estimators=4, verbose=-1, n_jobs=1).fit(ROWS, ANSWERS)
    trained.booster_.save_model(str(folder / "model.txt"))
    return folder / "model.txt"


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pt2": (_program, "pytorch"),
    "torchscript": (_script, "pytorch"),
    "keras": (_keras, "keras"),
    "saved-model": (_saved_model, "tensorflow"),
    "xgboost": (_xgboost, "xgboost"),
    "lightgbm": (_lightgbm, "lightgbm"),
}
SELF_DESCRIBED = {"keras", "saved-model"}


def packed_folder(path: Path, tmp_path: Path, **options: Any) -> Path:
    """The MLflow model folder that a registration would upload."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    packed = pack(path, scratch, **options)
    folder = tmp_path / "folder"
    for name, file in packed.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / name)
    (folder / "MLmodel").write_text(mlmodel_text(packed.mlmodel))
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_built(name: str, tmp_path: Path, request_for: Requests) -> None:
    """With an input example, every kind is converted and verified at every batch size."""
    make, flavour = FILES[name]
    np.save(tmp_path / "rows.npy", ROWS[:6])
    folder = packed_folder(make(tmp_path), tmp_path, input_example=tmp_path / "rows.npy")
    manifest = build(request_for(folder))
    assert manifest.flavour == flavour
    assert manifest.max_batch_size == 16
    assert manifest.signature.inputs[0].shape == (4,)


@pytest.mark.parametrize("name", sorted(set(FILES) - SELF_DESCRIBED - {"pt2"}))
def test_what_does_not_describe_itself_needs_a_word(name: str, tmp_path: Path) -> None:
    """At registration, not minutes later in a build."""
    with pytest.raises(ModelFileError, match="does not say what it takes"):
        packed_folder(FILES[name][0](tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.pt", b"\x80\x04pickle", "TorchScript"),
        ("model.keras", b"PK\x03\x04", "Keras"),
        ("model.ubj", b"tree\nversion=v4", "XGBoost"),
        ("model.json", b'{"format": "something else"}', "XGBoost"),
        ("model.txt", b"Dear reader,", "LightGBM"),
        ("model.h5", b"\x89HDF", r"\.keras"),
    ],
)
def test_a_file_that_is_something_else_is_refused(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    """By a look at its beginning; the error says how such a file is written."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        packed_folder(tmp_path / name, tmp_path)
