"""Reading ONNX files: weights kept beside the file, limits of the serving runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import external_data_helper

from .errors import CorruptArtefactError, RuntimeCapsError, UnsupportedGraphError
from .requests import RuntimeCaps

LARGEST_BYTES: Final = 2 * 1024**3 - 64 * 1024**2
"""A protobuf message ends at 2 GiB; what is left is room for the graph itself."""


def read_onnx(path: Path, *, root: Path) -> Any:
    """Read an `onnx.ModelProto` with all of its weights in memory.

    Args:
        path: The `.onnx` file.
        root: The folder that it and its weights must lie in.

    Raises:
        CorruptArtefactError: The file cannot be read, or its weights are missing, cut short or
            outside `root`.
        UnsupportedGraphError: Graph and weights do not fit one file.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors share no public class
        raise _invalid(path, error) from error
    external = list(_external(model))
    total = path.stat().st_size
    for tensor in external:
        total += _checked_bytes(tensor, path, root)
    if total > LARGEST_BYTES:
        raise UnsupportedGraphError(
            f"{path.name} with its weights is {total / 1024**3:.1f} GiB; one ONNX file holds 2.",
            hint="Serve it in half precision, or split it.",
        )
    if external:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's errors share no class
        raise _invalid(path, error) from error
    return model


def check_caps(model: Any, caps: RuntimeCaps) -> None:
    """Raise unless the serving runtime reads the graph.

    Raises:
        RuntimeCapsError: The operator set or the file format is too new.
    """
    opset = default_opset(model)
    if opset > caps.opset or model.ir_version > caps.ir_version:
        raise RuntimeCapsError(
            f"The graph has opset {opset} and IR version {model.ir_version}; ONNX Runtime "
            f"{caps.onnxruntime} reads up to opset {caps.opset} and IR version {caps.ir_version}.",
            hint="Export it with a lower opset_version (20 suits every current Triton image) and "
            "onnx.helper.make_model(..., ir_version=10).",
            opset=opset,
            ir_version=model.ir_version,
        )


def default_opset(model: Any) -> int:
    """Return the version of ONNX's own operator set that a model imports; 0 if none."""
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def _external(model: Any) -> Iterator[Any]:
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            yield tensor


def _checked_bytes(tensor: Any, path: Path, root: Path) -> int:
    """Return a tensor's size in bytes after making sure that its file may be read."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    resolved = (path.parent / location).resolve()
    if not location or Path(location).is_absolute() or not resolved.is_relative_to(root.resolve()):
        raise CorruptArtefactError(
            f"The weights of {tensor.name!r} lie outside the model folder: {location!r}.",
            hint="Save the model with its weights beside it and log it again.",
        )
    if not resolved.is_file():
        raise CorruptArtefactError(
            f"The weights of {tensor.name!r} are missing: there is no {location!r}.",
            hint="Log the model again, or check that the download was complete.",
        )
    size, offset = resolved.stat().st_size, int(facts.get("offset", 0))
    length = int(facts.get("length", size - offset))
    if offset < 0 or length < 0 or offset + length > size:
        raise CorruptArtefactError(
            f"The weights of {tensor.name!r} are cut short: {location!r} has {size} bytes, "
            f"{offset + length} are needed.",
            hint="Log the model again, or check that the download was complete.",
        )
    return length


def _invalid(path: Path, error: Exception) -> CorruptArtefactError:
    return CorruptArtefactError(
        f"{path.name} is not a valid ONNX file: {_first_line(error)}",
        hint="Check it with onnx.checker.check_model and log the model again.",
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
