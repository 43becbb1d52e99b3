"""One request with its answer, put together from the copies of its parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from conch.core import UNIT_HEADER
from conch.events import JsonValue, hash_unit
from conch.local.envoy import SHADOW_HEADER

from ..prediction_ids import PREDICTION_HEADER
from .payloads import UnreadablePayloadError, tensors_of
from .wire import Message, Part

REDACTED: Final = "[redacted]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of a payload.

    Attributes:
        redacted: Tensors whose values are not kept: `name`, or `model/name`.
        largest_bytes: A body above this size is not kept.
    """

    redacted: frozenset[str] = frozenset()
    largest_bytes: int = 1024 * 1024


@dataclass(slots=True)
class Exchange:
    """The parts of one request and its answer, as they come in.

    Attributes:
        keeping: What is kept.
        done: Whether the answer is whole.
    """

    keeping: Keeping
    clock: Callable[[], float] = time.time
    done: bool = False
    _began_s: float = 0.0
    _ended_s: float = 0.0
    _sent: dict[str, str] = field(default_factory=dict)
    _answered: dict[str, str] = field(default_factory=dict)
    _trailers: dict[str, str] = field(default_factory=dict)
    _bodies: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _large: bool = False

    def add(self, message: Message) -> None:
        """Take one part."""
        match message.part:
            case Part.REQUEST_HEADERS:
                self._sent, self._began_s = message.headers, self.clock()
            case Part.RESPONSE_HEADERS:
                self._answered, self._ended_s = message.headers, self.clock()
                self.done = message.last
            case Part.REQUEST_BODY:
                self._extend(self._bodies[0], message.body)
            case Part.RESPONSE_BODY:
                self._extend(self._bodies[1], message.body)
                self._ended_s = self.clock()
                self.done = message.last
            case Part.RESPONSE_TRAILERS:
                self._trailers, self.done = message.headers, True
            case _:
                pass

    def line(self) -> bytes | None:
        """Return the exchange as one line of JSON; None where no version answered it.

        A body that is too large or cannot be read is left out, and `left_out` says so.
        """
        answered = self._answered
        model, ordinal = answered.get("x-conch-model"), answered.get("x-conch-version")
        request_id = self._sent.get("x-request-id", "")
        if not model or not ordinal or not self._infers():
            return None
        status = int(answered.get(":status", "0") or 0)
        grpc_status = self._trailers.get("grpc-status", answered.get("grpc-status"))
        failed = status >= 400 or (grpc_status or "0") != "0"
        left_out = "too large" if self._large else ""
        inputs = outputs = None
        if not self._large:
            try:
                inputs = tensors_of(bytes(self._bodies[0]), self._sent, side="inputs")
                if not failed:
                    outputs = tensors_of(bytes(self._bodies[1]), answered, side="outputs")
            except UnreadablePayloadError as error:
                left_out = f"unreadable: {error}"[:200]
        value = {
            "request_id": request_id,
            "prediction_id": self._sent.get(PREDICTION_HEADER, ""),
            "model": model,
            "slot": answered.get("x-conch-slot", ""),
            "ordinal": int(ordinal),
            "build": answered.get("x-conch-build", ""),
            "unit": hash_unit(self._sent.get(UNIT_HEADER, request_id)),
            "at": self._began_s,
            "latency_ms": round(max(0.0, self._ended_s - self._began_s) * 1000, 3),
            "failed": failed,
            "left_out": left_out,
            "shadow": answered.get(SHADOW_HEADER, ""),
            "inputs": self._redacted(model, inputs),
            "outputs": self._redacted(model, outputs),
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _extend(self, body: bytearray, piece: bytes) -> None:
        if len(body) + len(piece) > self.keeping.largest_bytes:
            self._large = True
            body.clear()
        if not self._large:
            body += piece

    def _infers(self) -> bool:
        path = self._sent.get(":path", "").partition("?")[0]
        return path.endswith(("/infer", "/ModelInfer"))

    def _redacted(
        self, model: str, tensors: Mapping[str, JsonValue] | None
    ) -> dict[str, Any] | None:
        if tensors is None:
            return None
        hidden = self.keeping.redacted
        return {
            name: REDACTED if name in hidden or f"{model}/{name}" in hidden else value
            for name, value in tensors.items()
        }
