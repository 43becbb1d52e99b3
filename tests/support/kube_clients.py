"""Clients of the test API server, by way of kubeconfig files as everybody has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kube_apiserver import ADMIN, ApiServer

from conch.kserve.cluster import Connection, KubernetesCluster

Connect = Callable[..., KubernetesCluster]


def write_kubeconfig(path: Path, *, url: str, ca: Path, token: str) -> Path:
    """Write a kubeconfig file for one user."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "c", "cluster": {"server": url, "certificate-authority": str(ca)}}
                ],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


@pytest.fixture(scope="session")
def kubeconfigs(
    apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return the kubeconfig file of a token."""
    folder = tmp_path_factory.mktemp("kubeconfigs")

    def file_of(token: str = ADMIN) -> Path:
        path = folder / f"{token}.yaml"
        return write_kubeconfig(path, url=apiserver.url, ca=apiserver.ca, token=token)

    return file_of


@pytest.fixture(scope="session")
def connect(kubeconfigs: Callable[[str], Path]) -> Connect:
    """Return a client for a token; whoever takes it closes it."""

    def client(token: str = ADMIN, *, manager: str = "conch") -> KubernetesCluster:
        return KubernetesCluster(
            Connection(kubeconfig=kubeconfigs(token), timeout_s=30), manager=manager
        )

    return client
