"""Fixtures of the KServe target's tests; their code is in `tests/support`."""

from kube_apiserver import apiserver, etcd, namespace
from kube_clients import connect, kubeconfigs
from memory_platform import memory_platform
from ports import unused_port

__all__ = [
    "apiserver",
    "connect",
    "etcd",
    "kubeconfigs",
    "memory_platform",
    "namespace",
    "unused_port",
]
