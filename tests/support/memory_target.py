"""A serving target in this process: it runs builds with ONNX Runtime and routes as Envoy does.

A stand-in for the data plane where a test is about the control plane. It keeps the promises of the
`Target` protocol: a load that fails changes nothing, loads and routes are what was last accepted,
and its entry answers by the routes in force, with the same headers. `fail_load` makes the next load
of a version fail; `gateway_ready` and `visible` take parts of it away.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime

from conch.core import (
    UNIT_HEADER,
    Arm,
    BuildRef,
    DType,
    InvalidValueError,
    LoadedModel,
    Ordinal,
    ServerState,
    ServerStatus,
    SlotName,
    TargetState,
    TrafficSplit,
    TritonName,
)
from conch.local import (
    BuildQuarantinedError,
    GatewayUnavailableError,
    LoadFailedError,
    SlotNotReadyError,
)

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    build: BuildRef
    session: Any

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        names = [tensor.name for tensor in self.build.signature.outputs]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


class MemoryTarget:
    """The `Target` protocol, in memory.

    Attributes:
        loads: Every load that was accepted, oldest first, as (model, ordinal, slot).
        gateway_ready: What `observe` says of the entry.
        visible: Whether `observe` answers.
    """

    def __init__(self, slots: Sequence[str] = ("a", "b"), *, replicas: int = 1) -> None:
        self._slots = tuple(SlotName(slot) for slot in slots)
        self._replicas = dict.fromkeys(self._slots, replicas)
        self._held: dict[tuple[SlotName, TritonName], _Loaded] = {}
        self._routes: dict[TritonName, TrafficSplit] = {}
        self._failing: dict[tuple[TritonName, Ordinal], str] = {}
        self._quarantined: dict[str, str] = {}
        self._lock = threading.Lock()
        self.loads: list[tuple[TritonName, Ordinal, SlotName]] = []
        self.inference_url = "http://memory.invalid"
        self.gateway_ready = True
        self.visible = True

    def fail_load(self, model: str, ordinal: int, reason: str) -> None:
        """Make every load of a version fail with these words, until `allow_load`."""
        self._failing[TritonName(model), Ordinal(ordinal)] = reason

    def allow_load(self, model: str, ordinal: int) -> None:
        """Let a version load again."""
        self._failing.pop((TritonName(model), Ordinal(ordinal)), None)

    def quarantine(self, build_id: str, reason: str) -> None:
        """Bar a build from now on; it is in no server any more."""
        with self._lock:
            self._quarantined[build_id] = reason
            for key, held in list(self._held.items()):
                if held.build.build_id == build_id:
                    del self._held[key]

    def crash(self, slot: str) -> None:
        """Forget what a slot holds, as servers do that were started again."""
        with self._lock:
            for key in [key for key in self._held if key[0] == slot]:
                del self._held[key]

    # --- the protocol

    def observe(self) -> TargetState:
        if not self.visible:
            raise GatewayUnavailableError("The target cannot be seen.")
        with self._lock:
            return TargetState(
                servers=tuple(
                    ServerStatus(
                        slot=slot,
                        replica=replica,
                        state=ServerState.READY,
                        models=tuple(
                            LoadedModel(model=model, ordinal=held.build.ordinal, ready=True)
                            for (where, model), held in sorted(self._held.items())
                            if where == slot
                        ),
                    )
                    for slot in self._slots
                    for replica in range(self._replicas[slot])
                ),
                routes=dict(self._routes),
                inference_url=self.inference_url,
                gateway_ready=self.gateway_ready,
            )

    def routes(self) -> Mapping[TritonName, TrafficSplit]:
        if not self.visible:
            raise GatewayUnavailableError("The target cannot be seen.")
        with self._lock:
            return dict(self._routes)

    def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        self._known(slot)
        if (why := self.quarantined().get(build.build_id)) is not None:
            raise BuildQuarantinedError(f"Slot {slot!r} refused {build.model}: {why}")
        reason = self._failing.get((build.model, build.ordinal))
        if reason is not None:
            raise LoadFailedError(f"Slot {slot!r} refused {build.model}: {reason}")
        folder = build.path / "portable" / build.model / str(build.ordinal)
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        with self._lock:
            self._held[slot, build.model] = _Loaded(build=build, session=session)
            self.loads.append((build.model, build.ordinal, slot))

    def unload(self, model: TritonName, slot: SlotName) -> None:
        with self._lock:
            self._held.pop((slot, model), None)

    def infer(
        self,
        model: TritonName,
        slot: SlotName,
        inputs: Arrays,
        *,
        replica: int = 0,
        timeout_s: float,
    ) -> Arrays:
        self._known(slot)
        with self._lock:
            held = self._held.get((slot, model))
        if held is None or replica >= self._replicas[slot]:
            raise SlotNotReadyError(f"Server {replica} of slot {slot!r} does not hold {model!r}.")
        return held.run(inputs)

    def quarantined(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._quarantined)

    def scale(self, slot: SlotName, replicas: int) -> None:
        if slot not in self._slots:
            raise InvalidValueError(f"There is no slot {slot!r}.")
        self._replicas[slot] = replicas

    def set_routes(self, splits: Sequence[TrafficSplit]) -> None:
        models = [split.model for split in splits]
        if len(set(models)) != len(models):
            raise InvalidValueError(f"Two traffic splits for one model: {sorted(models)}.")
        with self._lock:
            self._routes = {split.model: split for split in splits}

    # --- the entry

    def arm_for(self, model: str, *, unit: str, ordinal: int | None) -> Arm | None:
        """Return where the routes in force send a request; None where nowhere."""
        split = self._routes.get(TritonName(model))
        if split is None:
            return None
        if ordinal is None:
            return split.arm_of(unit)
        return next((arm for arm in split.arms if arm.ordinal == ordinal), None)

    @contextmanager
    def entry(self) -> Iterator[str]:
        """Serve the Open Inference Protocol over HTTP on a free port for the block."""
        target = self

        class Handler(_Entry):
            served = target

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.inference_url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.inference_url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _known(self, slot: SlotName) -> None:
        if slot not in self._slots:
            raise SlotNotReadyError(f"There is no slot {slot!r}.")


class _Entry(BaseHTTPRequestHandler):
    """`POST /v2/models/NAME[/versions/N]/infer`, JSON tensors only."""

    protocol_version = "HTTP/1.1"
    served: MemoryTarget

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        _, _, _, model, *rest = self.path.split("/")
        ordinal = int(rest[1]) if rest[0] == "versions" else None
        unit = self.headers.get(UNIT_HEADER, str(uuid4())).encode("latin-1").decode()
        arm = self.served.arm_for(model, unit=unit, ordinal=ordinal)
        if arm is None:
            problem = {"code": "model-not-served", "detail": "Nothing is served under this name."}
            self._answer(HTTPStatus.NOT_FOUND, problem)
            return
        try:
            tensors = [_read(tensor) for tensor in json.loads(body)["inputs"]]
            outputs = self.served.infer(TritonName(model), arm.slot, dict(tensors), timeout_s=10)
        except SlotNotReadyError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
            return
        except Exception as error:  # Triton answers what a model cannot run with 400
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        answer = {
            "model_name": model,
            "model_version": str(arm.ordinal),
            "outputs": [_written(name, array) for name, array in outputs.items()],
        }
        named = {"x-conch-build": arm.build_id, "x-conch-version": str(arm.ordinal)}
        self._answer(HTTPStatus.OK, answer, named)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(
        self, status: HTTPStatus, value: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        payload = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {**(headers or {}), "content-length": str(len(payload))}.items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(payload)


def _read(tensor: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    data = np.array(tensor["data"], dtype=DType(tensor["datatype"]).numpy)
    return tensor["name"], data.reshape(tensor["shape"])


def _written(name: str, array: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": DType.from_numpy(array.dtype).value,
        "shape": list(array.shape),
        "data": array.ravel().tolist(),
    }
