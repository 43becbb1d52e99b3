"""Envoy's bootstrap and its one listener for HTTP and gRPC.

Field names follow `envoy.config.bootstrap.v3`, `envoy.config.listener.v3` and
`envoy.extensions.filters.network.http_connection_manager.v3` of Envoy 1.40.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

from ..settings import LocalSettings
from .clusters import CAPTURE, SHADOW_SOCKET, watched
from .routes import (
    BUILD_HEADER,
    CAPTURE_FILTER,
    METADATA,
    MODEL_HEADER,
    RDS_NAME,
    SHADOW_RDS_NAME,
    SLOT_HEADER,
    VERSION_HEADER,
)

STAT_PREFIX: Final = "inference"
ADMIN_SOCKET: Final = "admin.sock"
"""Relative to Envoy's working directory, since a socket's path may have 107 bytes at most."""

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.http"
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def bootstrap() -> dict[str, Any]:
    """Return what Envoy reads at start: where its watched files are, and a private admin socket."""
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    monitor = (
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    )
    return {
        "node": {"id": "conch", "cluster": "conch"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": watched("listeners.json"),
            "cds_config": watched("clusters.json"),
        },
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"safe_regex": {"regex": ".*_rq_time$"}},
                    "buckets": [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30000],
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": connections,
                    "typed_config": {
                        "@type": f"type.googleapis.com/{monitor}",
                        "max_active_downstream_connections": 20_000,
                    },
                }
            ]
        },
    }


def listeners(settings: LocalSettings, *, port: int, access_log: str) -> dict[str, Any]:
    """Return the discovery response with the inference listener.

    Args:
        settings: Of the local target.
        port: The port to listen on.
        access_log: Path of the JSON access log.
    """
    manager = {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        # A request id is then always ours, so that no caller can make two requests collide.
        "use_remote_address": True,
        # What is reported later of a request that named no unit refers to it by this id.
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"headers_with_underscores_action": "ALLOW"},
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "30s",
        "rds": {"route_config_name": RDS_NAME, "config_source": watched("routes.json")},
        "http_filters": _filters(settings),
        "access_log": [_access_log(access_log)],
        "local_reply_config": {"mappers": _local_replies()},
    }
    listener = {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "inference",
        "address": {"socket_address": {"address": settings.inference_host, "port_value": port}},
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {"version_info": "1", "resources": [listener, _shadow_listener(settings)]}


def _shadow_listener(settings: LocalSettings) -> dict[str, Any]:
    """Return where mirrored requests arrive: what answers them is captured, and goes nowhere.

    Envoy throws the answers to mirrored requests away, so the copies pass through it once more.
    The listener is a private socket and trusts what the other one has already looked at: request
    id, unit, and for gRPC the model.
    """
    manager = {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": "shadow",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "common_http_protocol_options": {"headers_with_underscores_action": "ALLOW"},
        "rds": {
            "route_config_name": SHADOW_RDS_NAME,
            "config_source": watched("shadow-routes.json"),
        },
        "http_filters": [_capture(), _router()],
    }
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "shadow",
        "address": {"pipe": {"path": SHADOW_SOCKET, "mode": 0o600}},
        "per_connection_buffer_limit_bytes": settings.max_request_bytes,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _capture() -> dict[str, Any]:
    """Return the filter that copies a request and its answer to the capture process.

    The routing table turns it off, and each route that is captured on again. (A filter that is
    disabled here would be left out by the route that a request has at first, which for gRPC is not
    yet that of its model.) In observability mode Envoy waits for nothing: where the
    process is away, slow or full, requests go on and their copies are lost.
    """
    kind = f"{_HTTP}.ext_proc.v3.ExternalProcessor"
    return {
        "name": CAPTURE_FILTER,
        "typed_config": {
            "@type": kind,
            "grpc_service": {"envoy_grpc": {"cluster_name": CAPTURE}, "timeout": "1s"},
            "observability_mode": True,
            "failure_mode_allow": True,
            "deferred_close_timeout": "1s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": "STREAMED",
                "response_body_mode": "STREAMED",
                "response_trailer_mode": "SEND",
            },
            "forward_rules": {
                "disallowed_headers": {
                    "patterns": [{"exact": "authorization"}, {"exact": "cookie"}]
                }
            },
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_HTTP}.router.v3.Router"},
    }


def _filters(settings: LocalSettings) -> list[dict[str, Any]]:
    script = files(__package__ or "").joinpath("request.lua").read_text(encoding="utf-8")
    gzip = "type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip"
    return [
        {
            # Bodies are inspected and limited in their plain form.
            "name": "envoy.filters.http.decompressor",
            "typed_config": {
                "@type": f"{_HTTP}.decompressor.v3.Decompressor",
                "decompressor_library": {"name": "gzip", "typed_config": {"@type": gzip}},
                "request_direction_config": {"advertise_accept_encoding": False},
                "response_direction_config": {
                    "common_config": {
                        "enabled": {
                            "default_value": False,
                            "runtime_key": "conch.decompress.answers",
                        }
                    }
                },
            },
        },
        {
            "name": "envoy.filters.http.buffer",
            "typed_config": {
                "@type": f"{_HTTP}.buffer.v3.Buffer",
                "max_request_bytes": settings.max_request_bytes,
            },
        },
        {
            "name": "envoy.filters.http.lua",
            "typed_config": {
                "@type": f"{_HTTP}.lua.v3.Lua",
                "default_source_code": {"inline_string": script},
            },
        },
        _capture(),
        _router(),
    ]


def _access_log(path: str) -> dict[str, Any]:
    """Return the log of every request: who served whom how fast, without the unit itself."""
    record = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "protocol": "%PROTOCOL%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "model": f"%RESP({MODEL_HEADER})%",
        "slot": f"%RESP({SLOT_HEADER})%",
        "build": f"%RESP({BUILD_HEADER})%",
        "ordinal": f"%RESP({VERSION_HEADER})%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "unit": "%DYNAMIC_METADATA(conch:unit)%",
        "unit_given": "%DYNAMIC_METADATA(conch:unit_given)%",
        "assignment": f"%METADATA(ROUTE:{METADATA})%",
        "latency_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "duration_ms": "%DURATION%",
        "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "flags": "%RESPONSE_FLAGS%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
    }
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {"@type": kind, "path": path, "log_format": {"json_format": record}},
    }


def _local_replies() -> list[dict[str, Any]]:
    """Return how the gateway's own errors read: as problems with a code."""
    known = {
        413: ("request-too-large", "The request's body is larger than the gateway takes."),
        503: ("no-server-ready", "No server of this model is ready."),
        504: ("request-timeout", "The model did not answer in time."),
    }
    return [
        {
            "filter": {
                "status_code_filter": {
                    "comparison": {
                        "op": "EQ",
                        "value": {"default_value": status, "runtime_key": f"conch.reply.{status}"},
                    }
                }
            },
            "body_format_override": {
                "json_format": {
                    "type": "about:blank",
                    "status": "%RESPONSE_CODE%",
                    "code": code,
                    "detail": detail,
                    "cause": "%RESPONSE_CODE_DETAILS%",
                },
                "content_type": "application/problem+json",
            },
        }
        for status, (code, detail) in known.items()
    ]
