"""Envoy's clusters: the servers of each slot, by protocol, and who of them is in service.

Field names follow `envoy.config.cluster.v3` and `envoy.config.endpoint.v3` of Envoy 1.40.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conch.core import SlotName

from ..settings import LocalSettings

PROTOCOLS: Final = ("http", "grpc")
CONTROL: Final = "control"
CAPTURE: Final = "capture"
SHADOW: Final = "shadow"
CAPTURE_SOCKET: Final = "capture.sock"
SHADOW_SOCKET: Final = "shadow.sock"
"""Relative to Envoy's working directory, as its admin socket is."""

_ANY: Final = "any"
_CAPTURED_AT_ONCE: Final = 512
_MIRRORED_AT_ONCE: Final = 256
_CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A model server in service.

    Attributes:
        host: Its address, numeric.
        on_trial: Whether it is one of those of its slot that versions on trial are asked at.
    """

    http_port: int
    grpc_port: int
    on_trial: bool = False
    host: str = "127.0.0.1"


def cluster_name(slot: str, protocol: str, *, trial: bool = False) -> str:
    """Return the cluster of a slot's servers; without dots, which metric names break at.

    Args:
        slot: The slot.
        protocol: One of `PROTOCOLS`.
        trial: Whether it is that of the servers for versions on trial.

    >>> cluster_name("a", "grpc")
    'slot-a--grpc'
    """
    return f"slot-{slot}--trial--{protocol}" if trial else f"slot-{slot}--{protocol}"


def on_trial(replica: int, replicas: int) -> bool:
    """Tell whether a slot's server is one of those that versions on trial are asked at.

    Half of them, so that a version over which servers crash leaves the other half to its
    neighbours; with half of the traffic it has as many servers as it needs. A slot of one has
    no half to spare.

    >>> [[on_trial(replica, n) for replica in range(n)].count(True) for n in (1, 2, 3, 4)]
    [0, 1, 1, 2]
    """
    return replicas > 1 and replica < replicas // 2


def any_slot(protocol: str) -> str:
    """Return the cluster of all servers, for questions that concern no model."""
    return f"{_ANY}--{protocol}"


def clusters(settings: LocalSettings) -> dict[str, Any]:
    """Return the discovery response with every cluster."""
    found = [
        _servers(name, protocol, settings)
        for protocol in PROTOCOLS
        for name in (
            *(cluster_name(slot, protocol) for slot in sorted(settings.slots)),
            *(cluster_name(slot, protocol, trial=True) for slot in sorted(settings.slots)),
            any_slot(protocol),
        )
    ]
    found.append(_socket(CAPTURE, CAPTURE_SOCKET, "grpc", most_requests=_CAPTURED_AT_ONCE))
    found += [
        _socket(f"{SHADOW}--{protocol}", SHADOW_SOCKET, protocol, most_requests=_MIRRORED_AT_ONCE)
        for protocol in PROTOCOLS
    ]
    if settings.control_address is not None:
        found.append(_control(settings.control_address))
    return _discovery(found)


def endpoints(in_service: Mapping[SlotName, Sequence[Endpoint]]) -> dict[str, dict[str, Any]]:
    """Return the endpoint file of each cluster, by cluster; a slot may have no server."""
    everyone = [one for slot in sorted(in_service) for one in in_service[slot]]
    documents = {}
    for protocol in PROTOCOLS:
        for slot, servers in in_service.items():
            tried = [one for one in servers if one.on_trial]
            for name, members in (
                (cluster_name(slot, protocol), servers),
                (cluster_name(slot, protocol, trial=True), tried),
            ):
                documents[name] = _assignment(name, protocol, members)
        name = any_slot(protocol)
        documents[name] = _assignment(name, protocol, everyone)
    return documents


def _servers(name: str, protocol: str, settings: LocalSettings) -> dict[str, Any]:
    explicit: dict[str, Any] = (
        {"http_protocol_options": {}}
        if protocol == "http"
        else {"http2_protocol_options": {"max_concurrent_streams": 1024}}
    )
    interval = f"{settings.health_interval_s}s"
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": watched(f"endpoints/{name}.json")},
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": settings.max_request_bytes,
        "ignore_health_on_host_removal": True,
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Otherwise workers hear of a server's health up to a second after the main thread.
            "update_merge_window": "0s",
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": explicit,
            }
        },
        # The gRPC clusters' endpoints carry the HTTP port as their health check port.
        "health_checks": [
            {
                "timeout": "1s",
                "interval": interval,
                "no_traffic_interval": interval,
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/v2/health/ready"},
            }
        ],
        # Only failures to reach a server eject it: a 503 is Triton's word for a full queue.
        "outlier_detection": {
            "consecutive_5xx": 1000,
            "enforcing_consecutive_5xx": 0,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 0,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_time": "10s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 100_000,
                    "max_pending_requests": 100_000,
                    "max_requests": 100_000,
                    "retry_budget": {
                        "budget_percent": {"value": 25},
                        "min_retry_concurrency": 64,
                    },
                }
            ]
        },
    }


def _socket(name: str, path: str, protocol: str, *, most_requests: int) -> dict[str, Any]:
    """Return the cluster of one Unix socket; what is more than it takes at once is dropped."""
    options: dict[str, Any] = {"http_protocol_options": {}}
    if protocol == "grpc":
        options = {"http2_protocol_options": {"max_concurrent_streams": 1024}}
    limits = {
        "max_connections": most_requests,
        "max_pending_requests": most_requests,
        "max_requests": most_requests,
    }
    endpoint = {"address": {"pipe": {"path": path}}}
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": options,
            }
        },
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def _control(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    return {
        "@type": _CLUSTER,
        "name": CONTROL,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CONTROL,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def _assignment(name: str, protocol: str, servers: Sequence[Endpoint]) -> dict[str, Any]:
    members = []
    for server in servers:
        port = server.http_port if protocol == "http" else server.grpc_port
        endpoint: dict[str, Any] = {
            "address": {"socket_address": {"address": server.host, "port_value": port}}
        }
        if protocol == "grpc":
            endpoint["health_check_config"] = {"port_value": server.http_port}
        members.append({"endpoint": endpoint})
    return _discovery(
        [
            {
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": members}],
            }
        ]
    )


def _discovery(resources: list[dict[str, Any]]) -> dict[str, Any]:
    text = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"version_info": version, "resources": resources}


def watched(path: str) -> dict[str, Any]:
    """Return a configuration source that is a file, relative to Envoy's working directory."""
    return {"resource_api_version": "V3", "path_config_source": {"path": f"./{path}"}}
