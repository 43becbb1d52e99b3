"""A gateway's and its servers' answers on the stand-in: builds run with ONNX Runtime.

Requests come as `conch.kserve.serving.asking` sends them; the `Host` header says which servers are
meant, and the stand-in knows the build that these hold at the moment.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from conch.core import DType

_LENGTH = "inference-header-content-length"


@contextmanager
def answering(hosts: Mapping[str, str], store: Path, uri: str) -> Iterator[str]:
    """Answer for the block, and give the address.

    Args:
        hosts: Where each host name leads: a storage URI.
        store: The folder that servers see under `uri`.
        uri: See above.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            there = hosts.get(self.headers["host"])
            if there is None:
                self.send_error(503)
                return
            model = self.path.split("/")[3]
            folder = store / there.removeprefix(f"{uri}/") / model
            self._answer(_run(next(folder.glob("*/model.onnx")), body, int(self.headers[_LENGTH])))

        def _answer(self, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
            tensors = [_described(name, array) for name, array in outputs.items()]
            header = json.dumps({"outputs": [meta for meta, _ in tensors]}).encode()
            content = header + b"".join(data for _, data in tensors)
            self.send_response(200)
            self.send_header(_LENGTH, str(len(header)))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(path: Path, body: bytes, length: int) -> dict[str, np.ndarray[Any, Any]]:
    inputs, at = {}, length
    for tensor in json.loads(body[:length])["inputs"]:
        size = tensor["parameters"]["binary_data_size"]
        array = np.frombuffer(body[at : at + size], dtype=DType(tensor["datatype"]).numpy)
        inputs[tensor["name"]], at = array.reshape(tensor["shape"]), at + size
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _described(name: str, array: np.ndarray[Any, Any]) -> tuple[dict[str, Any], bytes]:
    data = np.ascontiguousarray(array).tobytes()
    meta = {
        "name": name,
        "shape": list(array.shape),
        "datatype": DType.from_numpy(array.dtype).value,
        "parameters": {"binary_data_size": len(data)},
    }
    return meta, data
