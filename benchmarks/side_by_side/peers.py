"""The Python servers that the gateway is compared with: how each is installed and started.

Each gets as many processes as there are cores on the machine that this was tuned for (two), where
it can share a port among processes without a queue between them; one thread of ONNX Runtime for
each process; and no access log.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from .environments import Environment
from .network import (
    MODEL,
    TOLERANCE,
    Network,
    inference_answer,
    inference_body,
    plain_answer,
    plain_body,
)

_SERVERS: Final = Path(__file__).with_name("servers")
_RUNTIME: Final = "onnxruntime==1.27.0"  # the one that conch's serving runtime pins
_START_S: Final = 120.0
_INFER: Final = f"/v2/models/{MODEL}/infer"

_FASTAPI: Final = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.*", _RUNTIME)

Row = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One server.

    Attributes:
        name: Its name in the report.
        requirements: What its environment holds.
        set_up: How many processes and what batching, in words.
        argv: Command line from the environment's folder of programs, the port, the graph and an
            empty folder of its own.
        variables: Environment variables from the graph.
        path: Where inference is asked for.
        body, answer: How a row is asked for, and the numbers of an answer.
    """

    name: str
    requirements: tuple[str, ...]
    set_up: str
    argv: Callable[[Path, int, Path, Path], list[str]]
    variables: Callable[[Path], Mapping[str, str]] = field(default=lambda graph: {})
    path: str = _INFER
    body: Callable[[Row], str] = inference_body
    answer: Callable[[bytes], list[float]] = inference_answer

    @property
    def environment(self) -> Environment:
        """Where it is installed."""
        return Environment(requirements=self.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs and answers rightly.

    Attributes:
        name: Its name in the report.
        url: Where inference is asked for.
        processes: The roots of its process trees.
        body: How a row is asked for.
        answer: The numbers of an answer.
    """

    name: str
    url: str
    processes: tuple[int, ...]
    body: Callable[[Row], str] = inference_body
    answer: Callable[[bytes], list[float]] = inference_answer

    def check(self, network: Network) -> None:
        """Ask for every row.

        Raises:
            RuntimeError: An answer is not the model's.
        """
        for number, (row, expected) in enumerate(zip(network.rows, network.answers, strict=True)):
            found = self.answer(_ask(self.url, self.body(row), unit=f"user-{number}"))
            if not np.allclose(found, expected, atol=TOLERANCE):
                raise RuntimeError(f"{self.name} answers {found} where the model says {expected}.")


@contextmanager
def running(peer: Peer, network: Network, folder: Path) -> Iterator[Server]:
    """Start a peer on a free port and check its answers; it has ended when the block is left.

    Raises:
        RuntimeError: It ended, did not answer in time, or answers wrongly.
    """
    folder.mkdir(parents=True)
    port = _free_port()
    programs = peer.environment.folder / "bin"
    log = folder / "log.txt"
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)}
    variables |= {"OMP_NUM_THREADS": "1", **peer.variables(network.path)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            peer.argv(programs, port, network.path, folder),
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    server = Server(
        name=peer.name,
        url=f"http://127.0.0.1:{port}{peer.path}",
        processes=(process.pid,),
        body=peer.body,
        answer=peer.answer,
    )
    try:
        _wait(server, network, process, log)
        server.check(network)
        yield server
    finally:
        _end(process)


def _wait(server: Server, network: Network, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            _ask(server.url, server.body(network.rows[0]), unit="user-0")
            return
        except OSError:
            time.sleep(0.1)
    words = log.read_text(errors="replace")[-1500:]
    raise RuntimeError(f"{server.name} does not answer:\n{words}")


def _ask(url: str, body: str, *, unit: str) -> bytes:
    headers = {"content-type": "application/json", "x-conch-unit": unit}
    request = urllib.request.Request(url, data=body.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server with the processes that it made."""
    family = (
        [psutil.Process(process.pid), *_children(process.pid)] if process.poll() is None else []
    )
    process.terminate()
    _, left = psutil.wait_procs(family, timeout=10)
    for one in left:
        one.kill()
    process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _script(name: str, workers: int) -> Callable[[Path, int, Path, Path], list[str]]:
    def argv(programs: Path, port: int, graph: Path, folder: Path) -> list[str]:
        script = str(_SERVERS / name)
        return [str(programs / "python"), script, str(port), str(graph), str(workers)]

    return argv


def _mlserver(programs: Path, port: int, graph: Path, folder: Path) -> list[str]:
    """Write MLServer's settings; returns its command line."""
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": _free_port(),
        "metrics_port": _free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": MODEL,
        "implementation": "mlserver_runtime.Mlp",
        "max_batch_size": 64,
        "max_batch_time": 0.0005,
        "parameters": {"uri": str(graph)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(programs / "mlserver"), "start", str(folder)]


def _bentoml(programs: Path, port: int, graph: Path, folder: Path) -> list[str]:
    serve = [str(programs / "bentoml"), "serve", "bentoml_service:Mlp"]
    return [*serve, "--working-dir", str(_SERVERS), "--host", "127.0.0.1", "--port", str(port)]


PEERS: Final = (
    Peer(
        name="kserve",
        requirements=("kserve==0.21.0", _RUNTIME),
        set_up="Python SDK, 2 processes, no batching (the SDK's server has none)",
        argv=_script("kserve_server.py", 2),
    ),
    Peer(
        name="mlserver",
        requirements=("mlserver==1.7.1", _RUNTIME),
        set_up="custom runtime, 1 process, adaptive batching (64 rows, 0.5 ms)",
        argv=_mlserver,
        variables=lambda graph: {"PYTHONPATH": str(_SERVERS)},
    ),
    Peer(
        name="bentoml",
        requirements=("bentoml==1.4.39", _RUNTIME),
        set_up="2 processes, adaptive batching (64 rows)",
        argv=_bentoml,
        variables=lambda graph: {
            "MODEL": str(graph),
            "WORKERS": "2",
            "BENTOML_DO_NOT_TRACK": "True",
        },
        path="/predict",
        body=plain_body,
        answer=plain_answer,
    ),
    Peer(
        name="fastapi",
        requirements=_FASTAPI,
        set_up="uvicorn with uvloop, 2 processes, asyncio micro-batcher (64 rows, what waits)",
        argv=_script("fastapi_server.py", 2),
    ),
    Peer(
        name="fastapi-raw",
        requirements=_FASTAPI,
        set_up="the same without validation: orjson on the raw body",
        argv=_script("fastapi_server.py", 2),
        path="/raw/infer",
    ),
)
