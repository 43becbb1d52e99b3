"""gRPC load with the C core: several processes, messages prepared, every answer checked.

h2load sends more, but takes a failed call for a good one, since its status comes in a trailer.
Here a call that failed counts as failed, and so does a wrong number. The price is CPU: Python
drives the calls, so the figures at 64 calls are below what the servers could do, alike for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from .figures import Run
from .network import INPUT, MODEL, OUTPUT, TOLERANCE, Network

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_GRACE_S: Final = 30.0
_NUMBERS: Final = struct.Struct("<4f")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcLoad:
    """A closed loop over gRPC.

    Attributes:
        address: `host:port`.
        calls: File of `write_calls`.
        concurrency: Calls under way, over all processes.
        processes: Each with one connection and its share of the calls.
        seconds: How long.
    """

    address: str
    calls: Path
    concurrency: int
    processes: int
    seconds: float

    @contextmanager
    def started(self) -> Iterator[Callable[[], Run]]:
        """Start the generators and wait until each has had an answer.

        The value, called once, sends the load and returns what came of it. What the generators
        take to start is thus no part of what is measured.

        Raises:
            RuntimeError: A generator did not start.
        """
        share, rest = divmod(self.concurrency, self.processes)
        argv = [sys.executable, "-m", __name__, self.address, str(self.calls), str(self.seconds)]
        generators = [
            subprocess.Popen(
                [*argv, str(share + (number < rest))],
                cwd=Path(__file__).parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(self.processes)
        ]
        try:
            for one in generators:
                assert one.stdout is not None
                if one.stdout.readline().strip() != "ready":
                    raise RuntimeError("A gRPC load generator did not start.")
            yield lambda: self._send(generators)
        finally:
            for one in generators:
                one.kill()
                one.wait()

    def _send(self, generators: Sequence[subprocess.Popen[str]]) -> Run:
        for one in generators:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        limit = self.seconds + _GRACE_S
        return merged([json.loads(one.communicate(timeout=limit)[0]) for one in generators])


def merged(parts: Sequence[dict[str, Any]]) -> Run:
    """Return one run from the answers of several processes.

    Args:
        parts: Each with `latencies_us`, `failed` and `seconds`.
    """
    latencies_ms = np.concatenate([np.array(part["latencies_us"]) for part in parts]) / 1000
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99])
    return Run(
        requests=len(latencies_ms),
        seconds=max(part["seconds"] for part in parts),
        failed=sum(part["failed"] for part in parts),
        mean_ms=float(latencies_ms.mean()),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
    )


def write_calls(path: Path, network: Network) -> Path:
    """Write prepared messages with the right answers, one JSON pair a line."""
    lines = []
    for row, answer in zip(network.rows, network.answers, strict=True):
        tensor = service_pb2.ModelInferRequest.InferInputTensor(
            name=INPUT, datatype="FP32", shape=[1, len(row)]
        )
        wanted = service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=OUTPUT)
        message = service_pb2.ModelInferRequest(
            model_name=MODEL, inputs=[tensor], outputs=[wanted], raw_input_contents=[row.tobytes()]
        )
        pair = [message.SerializeToString().hex(), answer.tolist()]
        lines.append(json.dumps(pair) + "\n")
    path.write_text("".join(lines), encoding="ascii")
    return path


def is_right(answer: bytes, expected: Sequence[float]) -> bool:
    """Tell whether a serialised `ModelInferResponse` carries the expected numbers.

    `raw_output_contents` is the field with the highest number (6), so one tensor of four floats
    makes up the last sixteen bytes.
    """
    if len(answer) < _NUMBERS.size:
        return False
    found = _NUMBERS.unpack_from(answer, len(answer) - _NUMBERS.size)
    return all(abs(a - b) <= TOLERANCE for a, b in zip(found, expected, strict=True))


async def _generate(address: str, path: Path, seconds: float, concurrency: int) -> dict[str, Any]:
    calls = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    prepared = [(bytes.fromhex(message), tuple(answer)) for message, answer in calls]
    latencies_us: list[int] = []
    failed = 0
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        infer = channel.unary_unary(METHOD)
        await infer(prepared[0][0], metadata=(("x-conch-unit", "user-0"),))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        begun = time.perf_counter()

        async def caller(number: int) -> None:
            nonlocal failed
            place = number * 37
            while (start := time.perf_counter()) - begun < seconds:
                message, expected = prepared[place % len(prepared)]
                place += 1
                try:
                    answer = await infer(message, metadata=(("x-conch-unit", f"user-{place}"),))
                except grpc.RpcError:
                    failed += 1
                    continue
                latencies_us.append(int((time.perf_counter() - start) * 1e6))
                if not is_right(answer, expected):
                    failed += 1

        await asyncio.gather(*(caller(number) for number in range(concurrency)))
        elapsed = time.perf_counter() - begun
    return {"latencies_us": latencies_us, "failed": failed, "seconds": elapsed}


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("calls", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("concurrency", type=int)
    given = parser.parse_args()
    found = asyncio.run(_generate(given.address, given.calls, given.seconds, given.concurrency))
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
