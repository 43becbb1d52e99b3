"""Conch's own local target under measurement: two slots, sticky weights, the access log."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import (
    UNIT_HEADER,
    Arm,
    BuildRef,
    Ordinal,
    SlotName,
    TrafficSplit,
    TritonName,
)
from conch.local import (
    Home,
    LocalSettings,
    LocalTarget,
    install,
    launch,
    read_observed,
    stop,
    wait_until_ready,
)
from conch.model_repo_builder import BuildRequest, build

from .network import INPUT, MODEL, OUTPUT, Network, graph, inference_body

CANDIDATE_WEIGHT: Final = 1000
_LOAD_S: Final = 60.0
_READY_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A running local target.

    Attributes:
        gateway: `host:port` of Envoy, for HTTP and gRPC.
        direct_http, direct_grpc: `host:port` of the stable slot's Triton server.
        envoy: Its process.
        stable: The process of that Triton server.
        servers: The processes of all Triton servers.
        access_log: One line for each request through the gateway.
        split: The weights in force.
    """

    gateway: str
    direct_http: str
    direct_grpc: str
    envoy: int
    stable: int
    servers: tuple[int, ...]
    access_log: Path
    split: TrafficSplit

    def check_arms(self, network: Network) -> None:
        """Ask as many units, and see that each meets the arm that its hash says.

        Raises:
            RuntimeError: The weights are not in force.
        """
        body = inference_body(network.rows[0]).encode()
        for number in range(len(network.rows)):
            headers = {"content-type": "application/json", UNIT_HEADER: f"user-{number}"}
            url = f"http://{self.gateway}/v2/models/{MODEL}/infer"
            request = urllib.request.Request(url, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                slot = answer.headers["x-conch-slot"]
            expected = self.split.arm_of(f"user-{number}").slot
            if slot != expected:
                raise RuntimeError(f"user-{number} met slot {slot!r} rather than {expected!r}.")


@contextmanager
def running(
    network: Network, folder: Path, *, progress: Callable[[str], None]
) -> Iterator[Product]:
    """Build the model, serve it from two slots 90 to 10, and end everything afterwards.

    Both slots hold a build of the same graph, so that every answer is the same.
    """
    runtime = install(progress=progress)
    home = folder / "home"
    target = LocalTarget(home, runtime=runtime, settings=LocalSettings(inference_port=0))
    try:
        launch(home)
        progress("Building the model twice ...")
        source = _logged(network, folder / "logged")
        stable, candidate = (_built(source, number, folder) for number in (1, 2))
        observed = wait_until_ready(home, timeout_s=_READY_S)
        target.load(stable, SlotName("a"), timeout_s=_LOAD_S)
        target.load(candidate, SlotName("b"), timeout_s=_LOAD_S)
        arms = (
            _arm("b", candidate, CANDIDATE_WEIGHT),
            _arm("a", stable, 10_000 - CANDIDATE_WEIGHT),
        )
        split = TrafficSplit(model=TritonName(MODEL), arms=arms, salt="rel-17")
        target.set_routes([split])
        observed = read_observed(Home(home)) or observed
        instances = observed.instances
        first = instances["triton-a-0"]
        yield Product(
            gateway=f"127.0.0.1:{observed.inference_port}",
            direct_http=f"127.0.0.1:{first.ports['http']}",
            direct_grpc=f"127.0.0.1:{first.ports['grpc']}",
            envoy=_pid(instances["envoy"].pid),
            stable=_pid(first.pid),
            servers=tuple(_pid(instances[f"triton-{slot}-0"].pid) for slot in ("a", "b")),
            access_log=Home(home).access_log,
            split=split,
        )
    finally:
        stop(home)


def _pid(pid: int | None) -> int:
    if pid is None:
        raise RuntimeError("A server of the local target is not running.")
    return pid


def _arm(slot: str, build: BuildRef, weight: int) -> Arm:
    return Arm(slot=SlotName(slot), ordinal=build.ordinal, build_id=build.build_id, weight=weight)


def _logged(network: Network, folder: Path) -> Path:
    """Write the graph as MLflow's onnx flavour."""
    import mlflow.onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    float32 = np.dtype(np.float32)
    rows, answers = network.rows, network.answers
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, rows.shape[1]), INPUT)]),
        outputs=Schema([TensorSpec(float32, (-1, answers.shape[1]), OUTPUT)]),
    )
    example: dict[str, Any] = {INPUT: rows[:8]}
    mlflow.onnx.save_model(
        graph(), str(folder), signature=signature, input_example=example, pip_requirements=[]
    )
    return folder


def _built(source: Path, number: int, folder: Path) -> BuildRef:
    """Build with the product's defaults: up to 64 rows a batch, joined within 0.5 ms."""
    return build(
        BuildRequest(
            build_id=f"{MODEL}-{number}",
            registered_name=MODEL,
            model=TritonName(MODEL),
            ordinal=Ordinal(number),
            source=source,
            output=folder / "builds" / str(number),
        )
    ).ref
