"""Making an MLflow model folder out of a model file, without importing its framework.

MLflow's own `log_model` needs the live model object, and with it PyTorch, in the process that
calls it; conch's control process stays free of frameworks. An MLflow model is a folder with a YAML
file, so for the formats that hold no Python the YAML is written here, with the files, flavour and
example that MLflow's own `save_model` of the framework writes. Whether the model is right is for
the build to find out.

What a model takes has to be known. An `.onnx` graph, a `.keras` network and a SavedModel say it
themselves. TorchScript and boosters do not, so a signature or an input example has to come with
them; a `.pt2` program needs one before it can be built.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from conch.core import Signature

from .downloading import MLMODEL, read_mlmodel
from .errors import ModelFileError
from .schemas import (
    Arrays,
    Schema,
    example_rows,
    example_schema,
    graph_schema,
    read_arrays,
    signature_schema,
)

_EXAMPLE: Final = "input_example.json"
_SERVING_EXAMPLE: Final = "serving_input_example.json"
_SAVED_MODEL: Final = "saved_model.pb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """An MLflow model folder, not yet uploaded.

    Attributes:
        files: The file to upload for each path within the folder.
        mlmodel: The content of `MLmodel`, which is not among `files`.
    """

    files: Mapping[str, Path]
    mlmodel: Mapping[str, Any]


def pack(
    path: Path,
    scratch: Path,
    *,
    framework: str | None = None,
    signature: Signature | None = None,
    input_example: Path | None = None,
) -> Pack:
    """Describe a model file or folder as an MLflow model folder; model files are not copied.

    Args:
        path: An MLflow model folder, a SavedModel folder, or a file that ends as one of `_FILES`.
        scratch: An existing folder for the small files that are written.
        framework: A flavour of MLflow's, such as `pytorch`, to insist on one.
        signature: What the model takes and returns, where the file does not say.
        input_example: A `.npy` or `.npz` file.

    Raises:
        ModelFileError: The path is not such a model.
    """
    if (path / _SAVED_MODEL).is_file():
        packed = _saved_model(path, scratch, signature, input_example)
    elif path.is_dir():
        packed = _folder(path)
        if signature is not None or input_example is not None:
            raise ModelFileError(
                f"{path} is an MLflow model folder, which brings its own signature and example.",
                hint="Leave them out, or give the model file itself.",
            )
    elif not path.is_file():
        raise ModelFileError(f"There is no file or folder {path}.")
    elif path.suffix in _FILES:
        packed = _FILES[path.suffix](path, scratch, signature, input_example)
    else:
        raise ModelFileError(f"{path.name} is no model file that conch knows.", hint=_KNOWN)
    if framework is not None and framework not in packed.mlmodel["flavors"]:
        raise ModelFileError(
            f"{path} is no {framework!r} model; it offers {sorted(packed.mlmodel['flavors'])}."
        )
    return packed


def _folder(path: Path) -> Pack:
    mlmodel = read_mlmodel(path / MLMODEL)
    if mlmodel is None:
        raise ModelFileError(
            f"{path} is no MLflow model folder: its {MLMODEL} file is absent or lists no flavours.",
            hint=f"Save the model with mlflow.<flavour>.save_model. {_KNOWN}",
        )
    files: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():
            raise ModelFileError(f"{path} holds the link {name}.", hint="Use plain files only.")
        if file.is_file() and name != MLMODEL:
            files[name] = file
    return Pack(files=files, mlmodel=mlmodel)


def _onnx(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    import onnx  # slow, so not at the top

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the parser's own classes differ between versions
        raise ModelFileError(f"{path.name} is no readable ONNX model: {error}") from error
    if not model.graph.output:
        raise ModelFileError(f"{path.name} is no ONNX model: its graph has no output.")
    files = {"model.onnx": path}
    for name in sorted(_external_files(model)):
        beside = path.parent / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelFileError(f"{path.name} keeps weights outside its folder, in {name!r}.")
        if not beside.is_file() or beside.is_symlink():
            raise ModelFileError(
                f"{path.name} keeps weights in {name!r}, which is not beside it.",
                hint="Copy the weights file together with the model.",
            )
        files[name] = beside
    arrays = read_arrays(input_example)
    schema = signature_schema(signature) if signature is not None else graph_schema(model.graph)
    flavor = {
        "onnx_version": onnx.__version__,
        "data": "model.onnx",
        "providers": ["CPUExecutionProvider"],
        "onnx_session_options": None,
        "code": None,
    }
    return _finished(files, scratch, "onnx", flavor, "model.onnx", schema, arrays)


def _pt2(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path.name} is no archive of torch.export.",
            hint="Write it with torch.export.save.",
        ) from error
    if not any("archive_format" in name or "serialized_exported_program" in name for name in names):
        raise ModelFileError(
            f"{path.name} is an archive, but not one of torch.export.",
            hint="Write it with torch.export.save; torch.save writes something else.",
        )
    arrays = read_arrays(input_example)
    schema: Schema | None = None
    if signature is not None:
        schema = signature_schema(signature)
    elif arrays is not None:
        schema = example_schema(arrays)
    flavor = {"model_data": "data", "pytorch_version": _installed("torch"), "code": None}
    return _finished({"data/model.pt2": path}, scratch, "pytorch", flavor, "data", schema, arrays)


def _torchscript(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if not any("/code/" in name for name in names):
        raise ModelFileError(
            f"{path.name} is no TorchScript archive; a pickle is code, which conch does not log.",
            hint="Write it with torch.jit.script(model).save(path), or log the model with "
            "mlflow.pytorch.log_model.",
        )
    schema, arrays = _stated(path, signature, input_example)
    pickling = scratch / "pickle_module_info.txt"
    pickling.write_text("mlflow.pytorch.pickle_module")  # what MLflow's loader asks for
    files = {"data/model.pth": path, "data/pickle_module_info.txt": pickling}
    flavor = {"model_data": "data", "pytorch_version": _installed("torch"), "code": None}
    return _finished(files, scratch, "pytorch", flavor, "data", schema, arrays)


def _keras(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo("config.json")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path.name} is no archive of Keras 3.", hint="Write it with model.save(path)."
        ) from error
    module = scratch / "keras_module.txt"
    module.write_text("keras")
    files = {"data/model.keras": path, "data/keras_module.txt": module}
    flavor = {
        "data": "data",
        "keras_backend": "tensorflow",
        "keras_version": _installed("keras"),
        "save_exported_model": False,
    }
    arrays = read_arrays(input_example)
    schema = None if signature is None else signature_schema(signature)
    return _finished(files, scratch, "keras", flavor, "data", schema, arrays)


def _saved_model(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    files: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():
            raise ModelFileError(f"{path} holds the link {name}.", hint="Use plain files only.")
        if file.is_file():
            files[f"tf2model/{name}"] = file
    flavor = {"saved_model_dir": "tf2model", "model_type": "tf2-module", "code": None}
    arrays = read_arrays(input_example)
    schema = None if signature is None else signature_schema(signature)
    return _finished(files, scratch, "tensorflow", flavor, "tf2model", schema, arrays)


def _xgboost(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    with path.open("rb") as file:
        start = file.read(64)
    if not start.startswith(b"{") or (path.suffix == ".json" and b"learner" not in start):
        raise ModelFileError(
            f"{path.name} is no file of XGBoost's.", hint="Write it with booster.save_model(path)."
        )
    schema, arrays = _stated(path, signature, input_example)
    name = f"model{path.suffix}"
    flavor = {
        "data": name,
        "model_class": "xgboost.core.Booster",
        "model_format": path.suffix.removeprefix("."),
        "xgb_version": _installed("xgboost-cpu"),
        "code": None,
    }
    return _finished({name: path}, scratch, "xgboost", flavor, name, schema, arrays)


def _lightgbm(
    path: Path, scratch: Path, signature: Signature | None, input_example: Path | None
) -> Pack:
    with path.open("rb") as file:
        start = file.read(16)
    if not start.startswith(b"tree"):
        raise ModelFileError(
            f"{path.name} is no text of LightGBM's.", hint="Write it with booster.save_model(path)."
        )
    schema, arrays = _stated(path, signature, input_example)
    flavor = {
        "data": "model.lgb",
        "model_class": "lightgbm.basic.Booster",
        "lgb_version": _installed("lightgbm"),
        "code": None,
    }
    return _finished({"model.lgb": path}, scratch, "lightgbm", flavor, "model.lgb", schema, arrays)


def _stated(
    path: Path, signature: Signature | None, input_example: Path | None
) -> tuple[Schema, Arrays | None]:
    """Return what a caller says of a file that does not say it itself."""
    arrays = read_arrays(input_example)
    if signature is not None:
        return signature_schema(signature), arrays
    if arrays is None:
        raise ModelFileError(
            f"{path.name} does not say what it takes.",
            hint="Give a signature or an input example with it.",
        )
    return example_schema(arrays), arrays


def _finished(
    files: dict[str, Path],
    scratch: Path,
    flavor_name: str,
    flavor: Mapping[str, Any],
    data: str,
    schema: Schema | None,
    arrays: Arrays | None,
) -> Pack:
    mlmodel: dict[str, Any] = {
        "flavors": {
            flavor_name: dict(flavor),
            "python_function": {
                "loader_module": f"mlflow.{flavor_name}",
                "data": data,
                "python_version": platform.python_version(),
            },
        },
        "mlflow_version": importlib.metadata.version("mlflow-skinny"),
        "model_size_bytes": sum(file.stat().st_size for file in files.values()),
    }
    if schema is not None:
        mlmodel["signature"] = {
            "inputs": json.dumps(schema.inputs),
            "outputs": None if schema.outputs is None else json.dumps(schema.outputs),
            "params": None,
        }
    if arrays is not None:
        rows = example_rows(arrays)
        written = {_EXAMPLE: rows, _SERVING_EXAMPLE: {"inputs": rows}}
        for name, content in written.items():
            files[name] = scratch / name
            files[name].write_text(json.dumps(content))
        mlmodel["saved_input_example_info"] = {
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING_EXAMPLE,
            "type": "ndarray",
        }
    return Pack(files=files, mlmodel=mlmodel)


_Packer = Callable[[Path, Path, Signature | None, Path | None], Pack]

_FILES: Final[Mapping[str, _Packer]] = {
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".pt": _torchscript,
    ".keras": _keras,
    ".ubj": _xgboost,
    ".json": _xgboost,
    ".lgb": _lightgbm,
    ".txt": _lightgbm,
}
_KNOWN: Final = (
    f"conch knows files that end in {', '.join(_FILES)}, SavedModel folders, and folders that "
    "MLflow saved."
)


def _external_files(model: Any) -> set[str]:
    """Return the names of the files in which a graph keeps weights.

    Source: onnx.proto, TensorProto.external_data, key `location`.
    """
    return {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def mlmodel_text(content: Mapping[str, Any]) -> str:
    """Return an `MLmodel` file's text."""
    return yaml.safe_dump(dict(content), sort_keys=True)
