"""Asking one slot's servers over the Open Inference Protocol, HTTP with binary tensors.

Source: Triton, "Binary Tensor Data Extension": a JSON header, then the tensors one after another;
`Inference-Header-Content-Length` says where the header ends. BYTES elements have a length of four
bytes, little endian, in front.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import numpy as np

from conch.core import DType, TritonName

from .errors import AnswerError, NotAnsweringError

_LENGTH: Final = "inference-header-content-length"
Arrays = Mapping[str, np.ndarray[Any, Any]]


def ask(
    model: TritonName, inputs: Arrays, *, host: str, via: str = "", timeout_s: float
) -> dict[str, np.ndarray[Any, Any]]:
    """Run a model at whatever answers under a host name.

    Args:
        model: The model on the wire.
        inputs: Arrays by tensor name.
        host: The name that routes look at.
        via: An address that leads there, such as a gateway's; empty: the host itself.
        timeout_s: Longest wait, in seconds.

    Raises:
        NotAnsweringError: Nobody answered, or a proxy on the way said that nobody does.
        AnswerError: The server answered with an error.
    """
    tensors = [_tensor(name, array) for name, array in inputs.items()]
    header = {"inputs": [meta for meta, _ in tensors], "parameters": {"binary_data_output": True}}
    text = json.dumps(header).encode()
    try:
        answer = httpx.post(
            f"{via or f'http://{host}'}/v2/models/{model}/infer",
            content=text + b"".join(data for _, data in tensors),
            headers={
                "host": host,
                _LENGTH: str(len(text)),
                "content-type": "application/octet-stream",
            },
            timeout=timeout_s,
        )
    except httpx.HTTPError as error:
        raise NotAnsweringError(
            f"{host} does not answer for {model!r}: {error}.",
            hint="Is it reachable from here? The profile's `serve.gateway_url` leads there.",
        ) from error
    if answer.status_code in (404, 502, 503, 504):
        raise NotAnsweringError(f"{host} answered {answer.status_code} for {model!r}.")
    if answer.status_code != 200:
        raise AnswerError(f"{host} answered {answer.status_code}: {answer.text[:300]}")
    return dict(_read(answer.content, answer.headers.get(_LENGTH)))


def _tensor(name: str, array: np.ndarray[Any, Any]) -> tuple[dict[str, Any], bytes]:
    dtype = DType.from_numpy(array.dtype)
    if dtype is DType.BYTES:
        items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
        data = b"".join(struct.pack("<I", len(item)) + item for item in items)
    else:
        data = np.ascontiguousarray(array).tobytes()
    meta = {
        "name": name,
        "shape": list(array.shape),
        "datatype": dtype.value,
        "parameters": {"binary_data_size": len(data)},
    }
    return meta, data


def _read(content: bytes, length: str | None) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    end = int(length) if length else len(content)
    at = end
    for tensor in json.loads(content[:end])["outputs"]:
        dtype, shape = DType(tensor["datatype"]), tensor["shape"]
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            yield tensor["name"], np.array(tensor["data"], dtype=dtype.numpy).reshape(shape)
            continue
        data, at = content[at : at + size], at + size
        if dtype is DType.BYTES:
            array = np.array(list(_items(data)), dtype=object)
        else:
            array = np.frombuffer(data, dtype=dtype.numpy)
        yield tensor["name"], array.reshape(shape)


def _items(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size
