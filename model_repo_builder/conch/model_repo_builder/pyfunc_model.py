"""Serves an MLflow Python model through Triton's Python backend, in the model's own environment.

This file is `model.py` of the version folder, and it is the program that answers:

- Triton runs it as `model.py`. It starts `python model.py FOLDER` with the interpreter that the
  parameter `python` names, and passes rows on. The server's own environment (NumPy below 2) and the
  model's never meet.
- So started, it loads `FOLDER/mlflow_model` with MLflow and answers over its standard input and
  output. What the model prints goes to standard error.

It stands alone, without conch. Beside it lie `columns.json` (what to make of tensors, see
`PyfuncModel`) and `batching_model.py`, which joins and splits the requests of one batch. A child
that ends is started again by the next request; the one that it failed on is answered with an error.

A message is a line of JSON, its length in 8 bytes before it, then the bytes of its arrays. Text is
each element's bytes behind their number as a 4-byte little-endian integer, as Triton has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np

MODEL = "mlflow_model"
COLUMNS = "columns.json"
BATCHING = "batching_model.py"
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


class Answerer:
    """The loaded model as a function of arrays.

    Args:
        folder: Holds `MLmodel`.
        columns: See `PyfuncModel.columns`.
    """

    def __init__(self, folder: str, columns: dict[str, Any]) -> None:
        import mlflow.pyfunc

        self._columns = columns
        self._model = mlflow.pyfunc.load_model(folder)

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Answer rows, arrays by name; text as bytes."""
        return flattened(self._model.predict(self._rows(inputs)))

    def _rows(self, inputs: dict[str, Any]) -> Any:
        if not self._columns["table"]:
            arrays = {name: _text(inputs[name]) for name in self._columns["tensors"]}
            return next(iter(arrays.values())) if self._columns["unnamed"] else arrays
        import pandas as pd

        names, types = self._columns["names"], self._columns["types"]
        if self._columns["packed"]:
            (packed,) = inputs.values()
            arrays = {name: packed[:, place] for place, name in enumerate(names)}
        else:
            arrays = {name: _text(inputs[name]).reshape(-1) for name in names}
        return pd.DataFrame(
            {
                name: _column(name, arrays[name], kind)
                for name, kind in zip(names, types)  # noqa: B905  lengths are equal
            }
        )


def flattened(answer: Any) -> dict[str, Any]:
    """Return whatever a Python model answers as arrays by name, rows first.

    A table gives one array [rows, 1] per column, a list or a series `prediction` [rows, 1], an
    array `output`, a mapping its own names.
    """
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
        return {str(name): _wire(answer[name].to_numpy()) for name in answer.columns}
    if hasattr(answer, "to_numpy"):
        return {"prediction": _wire(answer.to_numpy())}
    if isinstance(answer, dict):
        return {str(name): _wire(np.asarray(array)) for name, array in answer.items()}
    if isinstance(answer, (list, tuple)):
        if answer and isinstance(answer[0], dict):
            return {str(n): _wire(np.asarray([row[n] for row in answer])) for n in answer[0]}
        return {"prediction": _wire(np.asarray(answer))}
    return {"output": _wire(np.asarray(answer))}


class Child:
    """The model in a process of its own.

    Args:
        python: The interpreter of the model's environment.
        folder: The version folder.
    """

    def __init__(self, python: str, folder: str) -> None:
        self._words = [python, "-B", "-P", os.path.join(folder, "model.py"), folder]
        self._lock = threading.Lock()
        self._process: Any = None
        with open(os.path.join(folder, COLUMNS), encoding="utf-8") as file:
            columns = json.load(file)
        self.inputs: list[str] = columns["tensors"]
        self.outputs: list[str] = columns["outputs"]
        with self._lock:
            self._start()

    def run(self, feed: dict[str, Any], wanted: list[str] | None = None) -> list[Any]:
        """Answer rows, in the order of `wanted`."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            try:
                write_message(self._process.stdin, {"kind": "rows"}, feed)
                header, arrays = read_message(self._process.stdout)
            except (OSError, EOFError) as error:
                self._process.kill()
                code = self._process.wait()
                raise RuntimeError(f"the model's process ended with status {code}") from error
        if "error" in header:
            raise RuntimeError(header["error"])
        return [arrays[name] for name in (self.outputs if wanted is None else wanted)]

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process.stdin.close()
                self._process.stdout.close()
                self._process = None

    def _start(self) -> None:
        # Whatever steers the server's own Python must not steer the model's.
        environ = {name: os.environ[name] for name in _PASSED if name in os.environ}
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        try:
            header, _ = read_message(self._process.stdout)
        except EOFError as error:
            code = self._process.wait()
            raise RuntimeError(
                f"the model's process ended with status {code} while it started; "
                "the server's log has what it said"
            ) from error
        if "error" in header:
            raise RuntimeError(header["error"])


def write_message(stream: Any, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write one message."""
    bodies = {name: _raw(array) for name, array in arrays.items()}
    listed = [
        {
            "name": name,
            "dtype": "bytes" if array.dtype.kind in "OSU" else array.dtype.str,
            "shape": list(array.shape),
            "size": len(bodies[name]),
        }
        for name, array in arrays.items()
    ]
    line = json.dumps({**header, "arrays": listed}).encode()
    stream.write(len(line).to_bytes(8, "little") + line)
    for body in bodies.values():
        stream.write(body)
    stream.flush()


def read_message(stream: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one message; raises EOFError where the other side is gone."""
    header = json.loads(_read(stream, int.from_bytes(_read(stream, 8), "little")))
    arrays = {}
    for item in header["arrays"]:
        body = _read(stream, item["size"])
        if item["dtype"] == "bytes":
            arrays[item["name"]] = _unpacked(body, item["shape"])
        else:
            flat = np.frombuffer(body, dtype=np.dtype(item["dtype"]))
            arrays[item["name"]] = flat.reshape(item["shape"])
    return header, arrays


def answer_for(folder: str) -> None:
    """Answer over standard input and output until the other side is gone."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    stream = sys.stdin.buffer
    with open(os.path.join(folder, COLUMNS), encoding="utf-8") as file:
        columns = json.load(file)
    try:
        answerer = Answerer(os.path.join(folder, MODEL), columns)
    except Exception as error:
        write_message(channel, {"error": f"{type(error).__name__}: {error}"[:2000]}, {})
        raise
    write_message(channel, {"ready": True}, {})
    while True:
        try:
            _, arrays = read_message(stream)
        except EOFError:
            return
        try:
            write_message(channel, {"ok": True}, answerer.run(arrays))
        except Exception as error:  # whatever the model raises for rows that it does not take
            write_message(channel, {"error": f"{type(error).__name__}: {error}"[:2000]}, {})


def _column(name: str, array: Any, kind: str) -> Any:
    """Return a column in the type that MLflow's signature has, which it does not convert to."""
    if kind == "object":
        return array
    if np.dtype(kind).kind in "iu" and array.dtype.kind == "f":
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise ValueError(f"column '{name}' takes whole numbers")
        array = whole
    return array.astype(kind)


def _wire(array: Any) -> Any:
    if array.dtype.kind == "O" and all(isinstance(v, (bool, np.bool_)) for v in array.flat):
        array = array.astype(bool)
    if array.dtype.kind in "OSU":
        found = np.empty(array.size, dtype=object)
        found[:] = [v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1)]
        array = found.reshape(array.shape)
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"the model answers {array.dtype}, which no tensor holds")
    if array.ndim == 0:
        array = array.reshape(1)
    return array.reshape(-1, 1) if array.ndim == 1 else np.ascontiguousarray(array)


def _text(array: Any) -> Any:
    if array.dtype.kind not in "OSU":
        return array
    flat = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in array.reshape(-1)]
    return np.array(flat, dtype=object).reshape(array.shape)


def _raw(array: Any) -> bytes:
    if array.dtype.kind not in "OSU":
        return np.ascontiguousarray(array).tobytes()
    items = [v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1)]
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def _unpacked(body: bytes, shape: list[int]) -> Any:
    items, place = [], 0
    while place < len(body):
        size = int.from_bytes(body[place : place + 4], "little")
        items.append(body[place + 4 : place + 4 + size])
        place += 4 + size
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found.reshape(shape)


def _read(stream: Any, size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _batching(folder: str) -> Any:
    """Return the class that joins and splits requests, without leaving bytecode in the folder."""
    path = os.path.join(folder, BATCHING)
    space: dict[str, Any] = {"__name__": "batching_model"}
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), space)
    return space["TritonPythonModel"]


class TritonPythonModel:
    """The interface that the Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        python = config["parameters"]["python"]["string_value"]
        folder = os.path.join(args["model_repository"], args["model_version"])
        self._batching = _batching(folder)()
        self._batching.graph = Child(python, folder)
        self._batching.batched = int(config.get("max_batch_size", 0)) > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        found: list[Any] = self._batching.execute(requests)
        return found

    def finalize(self) -> None:
        self._batching.graph.close()


if __name__ == "__main__":
    answer_for(sys.argv[1])
