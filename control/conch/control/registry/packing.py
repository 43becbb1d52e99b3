"""Making an MLflow model folder out of a model file, without importing its framework.

MLflow's own `log_model` needs the live model object, and with it PyTorch, in the process that
calls it; conch's control process stays free of frameworks. An MLflow model is a folder with a YAML
file, so for the formats that describe themselves the YAML is written here: `.onnx` (whose graph
names its tensors) and `.pt2` (an archive of `torch.export`, which takes no user code to load).
The result has the files, flavours and example that `mlflow.onnx` and `mlflow.pytorch` write, and
MLflow loads it with either. Whether the model is right is for the build to find out.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

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
        path: An MLflow model folder, a `.pt2` file or an `.onnx` file.
        scratch: An existing folder for the small files that are written.
        framework: `pytorch` or `onnx` to insist on one.
        signature: What the model takes and returns, where the file does not say.
        input_example: A `.npy` or `.npz` file.

    Raises:
        ModelFileError: The path is not such a model.
    """
    if path.is_dir():
        packed = _folder(path)
        if signature is not None or input_example is not None:
            raise ModelFileError(
                f"{path} is an MLflow model folder, which brings its own signature and example.",
                hint="Leave them out, or give the model file itself.",
            )
    elif not path.is_file():
        raise ModelFileError(f"There is no file or folder {path}.")
    elif path.suffix == ".onnx":
        packed = _onnx(path, scratch, signature, input_example)
    elif path.suffix == ".pt2":
        packed = _pt2(path, scratch, signature, input_example)
    else:
        raise ModelFileError(
            f"{path.name} is no model file that conch knows.",
            hint="Give a .pt2 file, an .onnx file, or a folder that MLflow saved.",
        )
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
            hint="Save the model with mlflow.<flavour>.save_model, or give a .pt2 or .onnx file.",
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


def _finished(
    files: dict[str, Path],
    scratch: Path,
    flavor_name: Literal["onnx", "pytorch"],
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
