"""Serves the model beside this file through Triton's Python backend, by its own runtime.

`model.onnx` is run by ONNX Runtime, `model.xml` by OpenVINO, `model.pt` by PyTorch; only that
runtime is imported. This file is copied into every version folder of the portable flavour. It
stands alone: it runs in the server's own environment (NumPy below 2), without conch.

Triton hands over the requests of one dynamic batch together. They are joined along the batch axis,
run once, and split again. If that fails, each is run alone, so that a request that the model does
not take fails by itself. Options (parameters of `config.pbtxt`): `intra_op_threads`, default 1.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside Triton; the engines work there too
    pb_utils = None

OPENVINO_FILE = "model.xml"
OPENVINO_OPTIONS: dict[str, Any] = {
    # By default a CPU that has bfloat16 computes in it, and answers otherwise than was verified.
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
}


class Graph:
    """The ONNX graph as a function of NumPy arrays; text is `object` arrays of `bytes`."""

    def __init__(self, path: str, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = (
            4  # what goes wrong is in the answer; callers could flood the log
        )
        # A spinning thread pool takes the CPU from the server and its other models.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs: list[str] = [item.name for item in self._session.get_inputs()]
        self.outputs: list[str] = [item.name for item in self._session.get_outputs()]

    def run(self, feed: dict[str, Any], wanted: list[str]) -> list[Any]:
        return [
            _to_bytes(array)
            for array in self._session.run(wanted, {k: _to_text(v) for k, v in feed.items()})
        ]


class Representation:
    """OpenVINO's intermediate representation as a function of NumPy arrays."""

    def __init__(self, path: str, threads: int = 1) -> None:
        import openvino

        core = openvino.Core()
        options = {**OPENVINO_OPTIONS, "INFERENCE_NUM_THREADS": threads}
        model = core.read_model(path)
        self._request = core.compile_model(model, "CPU", options).create_infer_request()
        # Compiling adds names of what it takes out; the file has one name for each.
        self.inputs: list[str] = [port.any_name for port in model.inputs]
        self.outputs: list[str] = [port.any_name for port in model.outputs]

    def run(self, feed: dict[str, Any], wanted: list[str]) -> list[Any]:
        answer = self._request.infer(
            {name: np.ascontiguousarray(array) for name, array in feed.items()}, share_inputs=True
        )
        by_name = dict(zip(self.outputs, answer.to_tuple()))  # noqa: B905  lengths are equal
        return [by_name[name] for name in wanted]


class Script:
    """A TorchScript module as a function of NumPy arrays; its archive names the outputs."""

    def __init__(self, path: str, threads: int = 1) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        extra = {"outputs.json": ""}
        self._module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
        names = [argument.name for argument in self._module.forward.schema.arguments]
        self.inputs: list[str] = names[1:]  # behind self
        self.outputs: list[str] = json.loads(extra["outputs.json"])

    def run(self, feed: dict[str, Any], wanted: list[str]) -> list[Any]:
        tensors = [self._torch.from_numpy(np.array(feed[name])) for name in self.inputs]
        with self._torch.no_grad():
            answer = self._module(*tensors)
        found = answer if isinstance(answer, (tuple, list)) else (answer,)
        by_name = dict(zip(self.outputs, found))  # noqa: B905  lengths are equal
        return [by_name[name].numpy() for name in wanted]


SCRIPT_FILE = "model.pt"
ENGINES: dict[str, Any] = {
    "model.onnx": Graph,
    OPENVINO_FILE: Representation,
    SCRIPT_FILE: Script,
}
"""What runs a file, by its name; the first that lies beside this one."""


class TritonPythonModel:
    """The interface that the Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = config.get("parameters") or {}
        threads = int(parameters.get("intra_op_threads", {}).get("string_value", "1"))
        folder = os.path.join(args["model_repository"], args["model_version"])
        name = next(name for name in ENGINES if os.path.exists(os.path.join(folder, name)))
        self.graph = ENGINES[name](os.path.join(folder, name), threads)
        self.batched = int(config.get("max_batch_size", 0)) > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        for group in self._groups(requests, responses):
            self._answer(group, responses)
        return responses

    def _groups(self, requests: list[Any], responses: list[Any]) -> list[list[Any]]:
        """Read the requests; those that can be joined are one group of (place, feed, wanted)."""
        groups: dict[Any, list[Any]] = {}
        for place, request in enumerate(requests):
            try:
                feed = {}
                for name in self.graph.inputs:
                    tensor = pb_utils.get_input_tensor_by_name(request, name)
                    if tensor is None:
                        raise ValueError(f"input '{name}' is missing")
                    feed[name] = tensor.as_numpy()
                asked = set(request.requested_output_names())
                wanted = [name for name in self.graph.outputs if name in asked]
            except Exception as error:
                responses[place] = _failure(error)
                continue
            shapes = tuple(feed[name].shape[1:] for name in self.graph.inputs)
            key = shapes if self.batched else place
            groups.setdefault(key, []).append((place, feed, wanted))
        return list(groups.values())

    def _answer(self, group: list[Any], responses: list[Any]) -> None:
        union = {name for _, _, wanted in group for name in wanted}
        names = [name for name in self.graph.outputs if name in union]
        try:
            feeds = [feed for _, feed, _ in group]
            arrays = self.graph.run(joined(feeds), names)
            parts = split(arrays, [rows_of(feed) for feed in feeds]) if len(group) > 1 else [arrays]
        except Exception as error:
            if len(group) == 1:
                responses[group[0][0]] = _failure(error)
            else:
                for one in group:
                    self._answer([one], responses)
            return
        for (place, _, wanted), part in zip(group, parts):  # noqa: B905  lengths are equal
            tensors = [
                pb_utils.Tensor(name, array)
                for name, array in zip(names, part)  # noqa: B905
                if name in wanted
            ]
            responses[place] = pb_utils.InferenceResponse(output_tensors=tensors)


def joined(feeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Join requests along the batch axis."""
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def split(arrays: list[Any], rows: list[int]) -> list[list[Any]]:
    """Split joined answers into one list of arrays per request."""
    total = sum(rows)
    for array in arrays:
        if array.ndim == 0 or len(array) != total:
            raise ValueError(f"an output has shape {list(array.shape)} for {total} rows")
    ends = np.cumsum(rows)
    return [
        [array[end - count : end] for array in arrays]
        for end, count in zip(ends, rows)  # noqa: B905
    ]


def rows_of(feed: dict[str, Any]) -> int:
    """The number of rows of a request."""
    return len(next(iter(feed.values())))


def _to_text(array: Any) -> Any:
    if array.dtype.kind not in "OSU":
        return array
    flat = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in array.reshape(-1)]
    return np.array(flat, dtype=object).reshape(array.shape)


def _to_bytes(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "OSU":
        return array
    found = np.empty(array.size, dtype=object)
    found[:] = [str(v).encode("utf-8") for v in array.reshape(-1)]
    return found.reshape(array.shape)


def _failure(error: Exception) -> Any:
    return pb_utils.InferenceResponse(
        output_tensors=[], error=pb_utils.TritonError(f"{type(error).__name__}: {error}"[:2000])
    )
