"""One line of the data plane's JSON access log as an exposure."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import xxhash

from .errors import InvalidEventError
from .kinds import Exposure

# Open Inference Protocol and KServe V1 over HTTP, and the gRPC service's two calls that infer;
# readiness, metadata and the like expose nobody to a version.
_HTTP_ENDINGS: Final = ("/infer", "/generate", "/generate_stream", ":predict", ":explain")
_GRPC_PATHS: Final = frozenset(
    f"/inference.GRPCInferenceService/{name}" for name in ("ModelInfer", "ModelStreamInfer")
)


def read_line(line: bytes, *, received_at: float) -> Exposure | None:
    """Return what a line tells, or None when it tells of no inference by a known version.

    The event id is a digest of the line, so that a line read twice is one event. (The request id
    would not do: callers may send the same one again.)

    Args:
        line: One JSON object without its newline. Used are `time` (ISO 8601), `request_id`,
            `method`, `path`, `model`, `slot`, `build`, `ordinal`, `unit` (see `hash_unit`),
            `unit_given`, `latency_us`, `status`, `grpc_status` and `flags`; null and `-` are
            missing values.
        received_at: When the line was read, Unix seconds.

    Raises:
        InvalidEventError: The line is not JSON, or a field has a value that it cannot have.
    """
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InvalidEventError(f"An access log line is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise InvalidEventError("An access log line is not a JSON object.")
    model, slot, ordinal = (_text(fields, name) for name in ("model", "slot", "ordinal"))
    if not (model and slot and ordinal) or not _infers(fields):
        return None
    try:
        latency_us = _number(fields, "latency_us")
        return Exposure(
            event_id=f"access-{xxhash.xxh3_128_hexdigest(line)}",
            occurred_at=datetime.fromisoformat(_text(fields, "time")).timestamp(),
            received_at=received_at,
            model=model,
            slot=slot,
            ordinal=int(ordinal),
            build_id=_text(fields, "build"),
            unit_hash=_text(fields, "unit"),
            unit_given=fields.get("unit_given") is not False,
            request_id=_text(fields, "request_id"),
            latency_ms=None if latency_us is None else latency_us / 1000,
            status=_whole(fields, "status"),
            grpc_status=_whole(fields, "grpc_status"),
            flags=_text(fields, "flags"),
        )
    except ValueError as error:
        raise InvalidEventError(f"An access log line has a bad value: {error}.") from error


def _infers(fields: dict[str, Any]) -> bool:
    path = _text(fields, "path")
    return _text(fields, "method") == "POST" and (
        path.endswith(_HTTP_ENDINGS) or path in _GRPC_PATHS
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None or value == "-" else str(value)


def _number(fields: dict[str, Any], name: str) -> float | None:
    text = _text(fields, name)
    return float(text) if text else None


def _whole(fields: dict[str, Any], name: str) -> int | None:
    text = _text(fields, name)
    return int(text) if text else None
