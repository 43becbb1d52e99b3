"""Fixtures that every part's tests may use; their code is in `tests/support`.

What starts servers is here alone: a fixture that two folders name is two of it.
"""

from databases import database, database_url, postgres
from kube_apiserver import apiserver, etcd, namespace
from kube_clients import connect, kubeconfigs
from memory_platform import memory_platform
from mlflow_fixtures import mlflow_server
from platform_fixtures import local_platform, serving_runtime
from ports import unused_port
from whole_platform import whole_platform

__all__ = [
    "apiserver",
    "connect",
    "database",
    "database_url",
    "etcd",
    "kubeconfigs",
    "local_platform",
    "memory_platform",
    "mlflow_server",
    "namespace",
    "postgres",
    "serving_runtime",
    "unused_port",
    "whole_platform",
]
