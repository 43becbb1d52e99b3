"""`make live` itself: the tests for a given cluster pass on the stand-in, given as one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kserve_answering import answering
from kserve_clusters import playing
from kube_apiserver import ADMIN, ApiServer
from kube_clients import Connect
from live_clusters import VARIABLE

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[3]
PROFILE = """
name: given
environment: dev
kserve: {{version: "0.19", mode: standard}}
network:
  kind: gateway-api
  gateway: {{name: public, namespace: gateways, domain: models.example.org}}
autoscaler: none
storage: {{schemes: [pvc]}}
serve: {{namespace: {namespace}, uri: "pvc://models", folder: store, gateway_url: "{url}"}}
"""


def test_the_tests_for_a_given_cluster(
    connect: Connect,
    apiserver: ApiServer,
    namespace: str,
    kubeconfigs: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """None is skipped, each passes, and a cluster is nothing but a profile and a kubeconfig."""
    with (
        playing(connect, namespace, seed=9) as standin,
        answering(standin.hosts, tmp_path / "store", "pvc://models") as url,
    ):
        profile = tmp_path / "given.yaml"
        profile.write_text(PROFILE.format(namespace=namespace, url=url))
        ran = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"),
                *("-m", "real", "-k", "live and not does_not_load"),
                *("tests/contracts", "tests/kserve/test_live.py"),
                f"--basetemp={tmp_path / 'inner'}",
            ],
            cwd=ROOT,
            env=os.environ
            | {
                VARIABLE: str(profile),
                "KUBECONFIG": str(kubeconfigs(ADMIN)),
                "CONCH_LIVE_LOAD_S": "60",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6 passed" in ran.stdout, ran.stdout
    assert "skipped" not in ran.stdout, ran.stdout
