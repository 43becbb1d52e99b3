"""Envoy's configuration as pure functions of values, and questions to a running Envoy."""

from .admin import EnvoyAdmin
from .clusters import Endpoint, cluster_name, clusters, endpoints
from .listeners import bootstrap, listeners
from .routes import route_configuration

__all__ = [
    "Endpoint",
    "EnvoyAdmin",
    "bootstrap",
    "cluster_name",
    "clusters",
    "endpoints",
    "listeners",
    "route_configuration",
]
