"""Envoy's route configuration: which request goes to which slot.

Pure functions from a routing table to the RouteConfiguration document. Field names follow
`envoy.config.route.v3` of Envoy 1.40.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from conch.core import TOTAL_WEIGHT, UNIT_HEADER, Arm, TrafficSplit

from ..settings import LocalSettings
from .clusters import CONTROL, SHADOW, any_slot, cluster_name

RDS_NAME: Final = "inference"
GRPC: Final = "/inference.GRPCInferenceService/"
STREAM: Final = f"{GRPC}ModelStreamInfer"
MODEL_HEADER: Final = "x-conch-model"
VERSION_HEADER: Final = "x-conch-version"
SLOT_HEADER: Final = "x-conch-slot"
BUILD_HEADER: Final = "x-conch-build"
SHADOW_RDS_NAME: Final = "shadow"
SHADOW_HEADER: Final = "x-conch-shadow"
"""Names the release that a mirrored request's answer is for; on no answer that a caller gets."""

CAPTURE_FILTER: Final = "envoy.filters.http.ext_proc"
METADATA: Final = "conch"
"""Namespace of a route's metadata."""

_CLOSED_HTTP: Final = (
    "/v2/repository",
    "/v2/systemsharedmemory",
    "/v2/cudasharedmemory",
    "/v2/trace",
    "/v2/logging",
)
_CLOSED_GRPC: Final = (
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)
_OPEN_GRPC: Final = ("ServerLive", "ServerReady", "ServerMetadata")

# google.rpc.Code, which a gRPC caller sees in place of the HTTP status.
_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED = 3, 5, 7


def route_configuration(splits: Sequence[TrafficSplit], settings: LocalSettings) -> dict[str, Any]:
    """Return the discovery response that holds the whole routing table.

    Its `version_info` is a digest of everything else in it, so that equal tables have equal
    versions and an acknowledgement names the table that it is for.

    Args:
        splits: One for each served model.
        settings: Of the local target.
    """
    routes = _closed(settings)
    for split in sorted(splits, key=lambda item: item.model):
        routes += _model_routes(split, settings)
    routes += _rest(settings)
    configuration = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": RDS_NAME,
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": "inference",
                "domains": ["*"],
                "retry_policy": _retry_policy(),
                "typed_per_filter_config": {
                    CAPTURE_FILTER: {"@type": f"type.googleapis.com/{_PER_ROUTE}", "disabled": True}
                },
                "routes": routes,
            }
        ],
    }
    text = json.dumps(configuration, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"version_info": version, "resources": [configuration]}


def _retry_policy() -> dict[str, Any]:
    """Return when any request is sent again, and to whom.

    A refused connection and a refused stream never ran anything, nor did a reset before the
    request was out. Once only, and never on 503: Triton answers it when its queue is full, and more
    requests do not help.
    """
    previous = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
        "retry_host_predicate": [
            {
                "name": "previous-hosts",
                "typed_config": {"@type": f"type.googleapis.com/{previous}"},
            }
        ],
        # A dead server has the fewest requests, so LEAST_REQUEST picks it again and again.
        "host_selection_retry_max_attempts": 32,
    }


def _closed(settings: LocalSettings) -> list[dict[str, Any]]:
    body = _problem(403, "not-exposed", "Server control is not exposed at the gateway.")
    http = [_answer({"path_separated_prefix": path}, 403, body) for path in _CLOSED_HTTP]
    trace = {"safe_regex": {"regex": "/v2/models/[^/]+(/versions/[^/]+)?/trace(/.*)?"}}
    http.append(_answer(trace, 403, body))
    words = "not-exposed: server control is not exposed at the gateway"
    methods = [*_CLOSED_GRPC, *([] if settings.streaming else ["ModelStreamInfer"])]
    grpc = [
        _unbuffered(_answer({"path": GRPC + method}, 403, words, grpc_status=_PERMISSION_DENIED))
        for method in methods
    ]
    return http + grpc


def _model_routes(split: TrafficSplit, settings: LocalSettings) -> list[dict[str, Any]]:
    """Return a model's routes, in the order in which Envoy must try them."""
    http, versions = f"/v2/models/{split.model}", f"/v2/models/{split.model}/versions"
    named = [_exact(MODEL_HEADER, split.model)]
    absent = f"Model {split.model!r} is served here, but not in that version."
    routes: list[dict[str, Any]] = []
    for arm in split.arms:
        pinned = {"path_separated_prefix": f"{versions}/{arm.ordinal}"}
        routes.append(_pinned(pinned, split, arm, settings, "http"))
    routes.append(
        _answer({"path_separated_prefix": versions}, 404, _problem(404, _NO_VERSION, absent))
    )
    routes += _divided({"path_separated_prefix": http}, split, settings, "http")
    paths: list[dict[str, Any]] = [{"path": STREAM}] if settings.streaming else []
    for path in [*paths, {"prefix": GRPC}]:
        for arm in split.arms:
            match = {**path, "headers": [*named, _exact(VERSION_HEADER, str(arm.ordinal))]}
            routes.append(_pinned(match, split, arm, settings, "grpc"))
        any_version = {"name": VERSION_HEADER, "present_match": True}
        match = {**path, "headers": [*named, any_version]}
        words = f"{_NO_VERSION}: {absent}"
        routes.append(_unbuffered(_answer(match, 404, words, grpc_status=_NOT_FOUND)))
        routes += _divided({**path, "headers": named}, split, settings, "grpc")
    return routes


_NO_VERSION: Final = "version-not-served"
_NO_MODEL: Final = "model-not-served"


def _rest(settings: LocalSettings) -> list[dict[str, Any]]:
    """Return what concerns no served model: server questions, the friendly API, refusals."""
    http, grpc = any_slot("http"), any_slot("grpc")
    routes = [
        {"match": {"path": path}, "route": {"cluster": http, "timeout": "5s"}, **_resets(settings)}
        for path in ("/v2", "/v2/health/live", "/v2/health/ready")
    ]
    routes += [
        {
            "match": {"path": GRPC + method},
            "route": {"cluster": grpc, "timeout": "5s"},
            **_resets(settings),
        }
        for method in _OPEN_GRPC
    ]
    health = {"match": {"path": "/grpc.health.v1.Health/Check"}, "route": {"cluster": grpc}}
    routes.append(health)
    if settings.control_address is not None:
        route = {"cluster": CONTROL, "timeout": f"{settings.request_timeout_s}s"}
        routes.append({"match": {"prefix": "/v1/"}, "route": route})
    stream = f"invalid-value: send the model's name as metadata {MODEL_HEADER}"
    no_model = f"{_NO_MODEL}: no model of that name is served here"
    unnamed = {"path": STREAM, "headers": [{"name": MODEL_HEADER, "present_match": False}]}
    routes.append(_unbuffered(_answer(unnamed, 400, stream, grpc_status=_INVALID_ARGUMENT)))
    unknown = _answer({"path": STREAM}, 404, no_model, grpc_status=_NOT_FOUND)
    routes.append(_unbuffered(unknown))
    routes.append(_answer({"prefix": GRPC}, 404, no_model, grpc_status=_NOT_FOUND))
    problem = _problem(404, _NO_MODEL, "No model of that name is served here.")
    routes.append(_answer({"prefix": "/v2/models/"}, 404, problem))
    problem = _problem(404, "not-found", "Nothing is served under this path.")
    routes.append(_answer({"prefix": "/"}, 404, problem))
    return routes


def shadow_configuration(splits: Sequence[TrafficSplit], settings: LocalSettings) -> dict[str, Any]:
    """Return the discovery response for mirrored requests: each model's go to its mirror's slot."""
    routes = []
    for split in sorted(splits, key=lambda item: item.model):
        mirror = split.mirror
        arm = next((a for a in split.arms if mirror and a.slot == mirror.slot), None)
        if mirror is None or arm is None:
            continue
        matches: dict[str, dict[str, Any]] = {
            "http": {"path_separated_prefix": f"/v2/models/{split.model}"},
            "grpc": {"prefix": GRPC, "headers": [_exact(MODEL_HEADER, split.model)]},
        }
        for protocol, match in matches.items():
            where = {"cluster": _cluster_of(arm, settings, protocol)}
            route = _forward(match, where, split, settings)
            named = [*_identity(split, arm), _header(SHADOW_HEADER, mirror.release)]
            routes.append({**route, **_CAPTURING, "response_headers_to_add": named})
    configuration = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": SHADOW_RDS_NAME,
        "validate_clusters": True,
        "virtual_hosts": [{"name": "shadow", "domains": ["*"], "routes": routes}],
    }
    text = json.dumps(configuration, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"version_info": version, "resources": [configuration]}


_PER_ROUTE: Final = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_CAPTURING: Final[dict[str, Any]] = {
    "typed_per_filter_config": {
        CAPTURE_FILTER: {
            "@type": f"type.googleapis.com/{_PER_ROUTE}",
            "overrides": {},
        }
    }
}


def _divided(
    match: dict[str, Any], split: TrafficSplit, settings: LocalSettings, protocol: str
) -> list[dict[str, Any]]:
    """Return a model's divided route; twice where a share of its requests is copied.

    The share is a coin for each request. Both copies divide alike, so who gets which version does
    not depend on it.
    """
    plain = _weighted(match, split, settings, protocol)
    share = split.mirror.share if split.mirror is not None else split.captured
    if not share or match.get("path") == STREAM:
        return [plain]
    # The first key is what an operator can turn at the admin interface, without a new table.
    coin = {
        "default_value": {"numerator": share, "denominator": "TEN_THOUSAND"},
        "runtime_key": f"conch.copied.{split.model}",
    }
    action = dict(plain["route"])
    if split.mirror is not None:
        action["request_mirror_policies"] = [{"cluster": f"{SHADOW}--{protocol}"}]
    copied = {**plain, **_CAPTURING, "route": action}
    return [{**copied, "match": {**plain["match"], "runtime_fraction": coin}}, plain]


def _weighted(
    match: dict[str, Any], split: TrafficSplit, settings: LocalSettings, protocol: str
) -> dict[str, Any]:
    clusters = [
        {
            "name": _cluster_of(arm, settings, protocol),
            "weight": arm.weight,
            "response_headers_to_add": _identity(split, arm),
            **_sent_again(arm, settings),
        }
        for arm in split.arms
    ]
    # The header's value is replaced by `value:salt` before it is hashed: this is what makes the
    # arm equal to `TrafficSplit.arm_of`. Backslashes are RE2's, doubled as a substitution.
    salt = split.salt.replace("\\", "\\\\")
    rewrite = {"pattern": {"regex": "^(.*)$"}, "substitution": f"\\1:{salt}"}
    sticky = {"header": {"header_name": UNIT_HEADER, "regex_rewrite": rewrite}}
    action = {
        "weighted_clusters": {"clusters": clusters, "use_hash_policy": True},
        "hash_policy": [sticky],
    }
    return {**_forward(match, action, split, settings), **_assignment(split)}


def _assignment(split: TrafficSplit) -> dict[str, Any]:
    """Return what the access log says of a request that a release divided.

    It is part of the route, hence of the one decision that chose the arm: a request is counted in
    the stage that it was assigned in, however late its line is written. Requests that pin a
    version were assigned by nobody and carry nothing.
    """
    if not split.release:
        return {}
    assignment = {
        "release": split.release,
        "stage": split.stage,
        "model": split.model,
        "arms": {
            arm.slot: {"weight": arm.weight, "ordinal": arm.ordinal, "build": arm.build_id}
            for arm in split.arms
        },
    }
    return {"metadata": {"filter_metadata": {METADATA: assignment}}}


def _pinned(
    match: dict[str, Any],
    split: TrafficSplit,
    arm: Arm,
    settings: LocalSettings,
    protocol: str,
) -> dict[str, Any]:
    route = _forward(match, {"cluster": _cluster_of(arm, settings, protocol)}, split, settings)
    named = {"response_headers_to_add": _identity(split, arm)}
    return {**route, **named, **_sent_again(arm, settings)}


def _cluster_of(arm: Arm, settings: LocalSettings, protocol: str) -> str:
    """Return which servers of its slot an arm is served by."""
    replicas = settings.slots.get(arm.slot, 1)
    trial = not arm.baked and arm.weight <= TOTAL_WEIGHT // 2 and replicas > 1
    return cluster_name(arm.slot, protocol, trial=trial)


def _sent_again(arm: Arm, settings: LocalSettings) -> dict[str, Any]:
    """Return what makes a request whose server vanished be sent again, for an arm that may.

    An arm cannot have a retry policy of its own. Envoy adds what this header says to the route's,
    and takes it off again: it is never believed from a client, and no server sees it.
    """
    return _resets(settings) if arm.baked else {}


def _resets(settings: LocalSettings) -> dict[str, Any]:
    if not settings.retry_resets:
        return {}
    added = {
        "header": {"key": "x-envoy-retry-on", "value": "reset"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return {"request_headers_to_add": [added]}


def _forward(
    match: dict[str, Any], action: dict[str, Any], split: TrafficSplit, settings: LocalSettings
) -> dict[str, Any]:
    stream = match.get("path") == STREAM
    timeout = "0s" if stream else f"{settings.request_timeout_s}s"
    route: dict[str, Any] = {
        "match": match,
        "route": {**action, "timeout": timeout},
        "stat_prefix": split.model,
    }
    return _unbuffered(route) if stream else route


def _unbuffered(route: dict[str, Any]) -> dict[str, Any]:
    """Let a route's bodies pass as they come: a stream never ends by itself."""
    path = route["match"].get("path")
    if path != STREAM:
        return route
    off = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        "disabled": True,
    }
    return {**route, "typed_per_filter_config": {"envoy.filters.http.buffer": off}}


def _identity(split: TrafficSplit, arm: Arm) -> list[dict[str, Any]]:
    named: Mapping[str, str] = {
        MODEL_HEADER: split.model,
        SLOT_HEADER: arm.slot,
        BUILD_HEADER: arm.build_id,
        VERSION_HEADER: str(arm.ordinal),
    }
    return [_header(key, value) for key, value in named.items()]


def _header(key: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": key, "value": value.replace("%", "%%")},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _exact(header: str, value: str) -> dict[str, Any]:
    return {"name": header, "string_match": {"exact": value}}


def _answer(
    match: dict[str, Any], status: int, body: str, *, grpc_status: int | None = None
) -> dict[str, Any]:
    headers = {"content-type": "application/problem+json"}
    if grpc_status is not None:
        headers = {"grpc-status": str(grpc_status)}
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {
                "header": {"key": key, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for key, value in headers.items()
        ],
    }


def _problem(status: int, code: str, detail: str) -> str:
    """Return a problem document (RFC 9457) with conch's code."""
    value = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return json.dumps(value)
