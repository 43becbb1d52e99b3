"""One line of the data plane's JSON access log as an exposure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import xxhash

from conch.core import TOTAL_WEIGHT

from .errors import InvalidEventError
from .kinds import Exposure

# Open Inference Protocol and KServe V1 over HTTP, and the gRPC service's two calls that infer;
# readiness, metadata and the like expose nobody to a version.
_HTTP_ENDINGS: Final = ("/infer", "/generate", "/generate_stream", ":predict", ":explain")
_GRPC_PATHS: Final = frozenset(
    f"/inference.GRPCInferenceService/{name}" for name in ("ModelInfer", "ModelStreamInfer")
)

_CLUSTER: Final = re.compile(r"slot-(?P<slot>[a-zA-Z0-9]+)(--trial)?--(http|grpc)")


def read_line(line: bytes, *, received_at: float) -> Exposure | None:
    """Return what a line tells, or None when it tells of no inference by a known version.

    The event id is a digest of the line, so that a line read twice is one event. (The request id
    would not do: callers may send the same one again.)

    Args:
        line: One JSON object without its newline. Used are `time` (ISO 8601), `request_id`,
            `method`, `path`, `model`, `slot`, `build`, `ordinal`, `unit` (see `hash_unit`),
            `unit_given`, `latency_us`, `duration_ms`, `status`, `grpc_status`, `flags`, `cluster`
            and `assignment`; null and `-` are missing values. `assignment` is what the route that
            divided the request carries: `release`, `stage`, `model`, and `arms` by slot, each
            with `weight` (of 10,000), `ordinal` and `build`; null for a request that no release
            divided.
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
    if not _infers(fields):
        return None
    try:
        assigned = _assigned(fields)
        served = _named(fields) or assigned
        if served is None:
            return None
        return Exposure(
            event_id=f"access-{xxhash.xxh3_128_hexdigest(line)}",
            occurred_at=datetime.fromisoformat(_text(fields, "time")).timestamp(),
            received_at=received_at,
            model=served.model,
            slot=served.slot,
            ordinal=served.ordinal,
            build_id=served.build_id,
            unit_hash=_text(fields, "unit"),
            unit_given=fields.get("unit_given") is not False,
            request_id=_text(fields, "request_id"),
            release="" if assigned is None else assigned.release,
            stage=0 if assigned is None else assigned.stage,
            propensity=None if assigned is None else assigned.propensity,
            latency_ms=_latency_ms(fields),
            status=_whole(fields, "status"),
            grpc_status=_whole(fields, "grpc_status"),
            flags=_text(fields, "flags"),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidEventError(f"An access log line has a bad value: {error!r}.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """Who answered, or was to."""

    model: str
    slot: str
    ordinal: int
    build_id: str
    release: str = ""
    stage: int = 0
    propensity: float | None = None


def _named(fields: dict[str, Any]) -> _Served | None:
    """Return who answered by the headers of the answer; None where there was none."""
    model, slot, ordinal = (_text(fields, name) for name in ("model", "slot", "ordinal"))
    if not (model and slot and ordinal):
        return None
    return _Served(model=model, slot=slot, ordinal=int(ordinal), build_id=_text(fields, "build"))


def _assigned(fields: dict[str, Any]) -> _Served | None:
    """Return the arm that a release gave the request, by its route and the cluster chosen in it.

    It is known even where the caller went away before an answer, as callers of a version that is
    too slow do: those must not be missing from that version's counts.
    """
    assignment = fields.get("assignment")
    if not assignment:
        return None
    cluster = _CLUSTER.fullmatch(_text(fields, "cluster"))
    if cluster is None:
        return None
    slot = cluster["slot"]
    arm = assignment["arms"][slot]
    return _Served(
        model=str(assignment["model"]),
        slot=slot,
        ordinal=int(arm["ordinal"]),
        build_id=str(arm["build"]),
        release=str(assignment["release"]),
        stage=int(assignment["stage"]),
        propensity=arm["weight"] / TOTAL_WEIGHT,
    )


def _latency_ms(fields: dict[str, Any]) -> float | None:
    """Return the time to the last byte, or, where no answer was sent, to the end."""
    latency_us = _number(fields, "latency_us")
    return _number(fields, "duration_ms") if latency_us is None else latency_us / 1000


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
