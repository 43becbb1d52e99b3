"""Bodies of inference requests and answers as tensors by name, in plain lists."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from conch.events import JsonValue

_DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_FRAME: Final = 5


class UnreadablePayloadError(ValueError):
    """A body that is none of the inference protocols', or holds what is not kept."""


def tensors_of(
    body: bytes, headers: Mapping[str, str], *, side: str
) -> dict[str, JsonValue] | None:
    """Return the tensors of one body by name, as nested lists; None where it holds none.

    Args:
        body: The body as it was sent.
        headers: Its headers, by lower-case name.
        side: `inputs` or `outputs`.

    Raises:
        UnreadablePayloadError: It cannot be read.
    """
    kind = headers.get("content-type", "")
    try:
        if kind.startswith("application/grpc"):
            return _from_grpc(body, side)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return _from_json(body, headers.get("inference-header-content-length"), side)
    except Exception as error:  # whatever a stranger sent: the copy is dropped, nothing else
        raise UnreadablePayloadError(str(error)) from error


def _from_json(body: bytes, length: str | None, side: str) -> dict[str, JsonValue] | None:
    size = len(body) if not length else int(length)
    value = json.loads(body[:size])
    binary, at = body[size:], 0
    found: dict[str, JsonValue] = {}
    for tensor in value.get(side, ()):
        parameters = tensor.get("parameters") or {}
        shape, datatype = tensor["shape"], tensor["datatype"]
        if "binary_data_size" in parameters:
            end = at + int(parameters["binary_data_size"])
            found[tensor["name"]] = _nested(binary[at:end], datatype, shape)
            at = end
        else:
            data = np.array(_flat(tensor["data"]), dtype=object)
            found[tensor["name"]] = data.reshape(shape).tolist()
    return found or None


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [item for one in value for item in _flat(one)]


def _from_grpc(body: bytes, side: str) -> dict[str, JsonValue] | None:
    # The generated messages come with the Triton client, which everybody has who serves.
    from tritonclient.grpc import service_pb2

    if len(body) < _FRAME:
        return None
    if body[0]:
        raise UnreadablePayloadError("a compressed message")
    message = (
        service_pb2.ModelInferRequest() if side == "inputs" else service_pb2.ModelInferResponse()
    )
    size = int.from_bytes(body[1:_FRAME], "big")
    message.ParseFromString(body[_FRAME : _FRAME + size])
    raw = message.raw_input_contents if side == "inputs" else message.raw_output_contents
    found: dict[str, JsonValue] = {}
    for index, tensor in enumerate(getattr(message, side)):
        shape = list(tensor.shape)
        if index < len(raw):
            found[tensor.name] = _nested(raw[index], tensor.datatype, shape)
        else:
            given = next((list(v) for _, v in tensor.contents.ListFields()), [])
            data = np.array([_text(v) for v in given], dtype=object)
            found[tensor.name] = data.reshape(shape).tolist()
    return found or None


def _nested(raw: bytes, datatype: str, shape: list[int]) -> JsonValue:
    if datatype == "BYTES":
        strings, at = [], 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 4], "little")
            strings.append(_text(raw[at + 4 : at + 4 + size]))
            at += 4 + size
        found: JsonValue = np.array(strings, dtype=object).reshape(shape).tolist()
        return found
    array = np.frombuffer(raw, dtype=_DTYPES[datatype]).reshape(shape)
    nested: JsonValue = _finite(array).tolist()
    return nested


def _finite(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array that JSON can carry: what is not finite becomes null."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    shown = array.astype(object)
    shown[~np.isfinite(array)] = None
    return shown


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
