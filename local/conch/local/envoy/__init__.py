"""Envoy's configuration as pure functions of values, and questions to a running Envoy."""

from .admin import EnvoyAdmin
from .clusters import CAPTURE_SOCKET, Endpoint, cluster_name, clusters, endpoints, on_trial
from .listeners import bootstrap, listeners
from .routes import SHADOW_HEADER, route_configuration, shadow_configuration

__all__ = [
    "CAPTURE_SOCKET",
    "SHADOW_HEADER",
    "Endpoint",
    "EnvoyAdmin",
    "bootstrap",
    "cluster_name",
    "clusters",
    "endpoints",
    "listeners",
    "on_trial",
    "route_configuration",
    "shadow_configuration",
]
