"""A platform whose models are served by a cluster: nothing serves on this machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
from command_line import CommandLine
from kserve_profiles import SITE_FILE
from kube_clients import write_kubeconfig
from whole_platform import platform_settings

from conch.control import platform
from conch.control.client import Client
from conch.control.keys import read_key
from conch.control.settings import KServeSettings

pytestmark = pytest.mark.real


def test_only_the_control_plane_runs_beside_a_cluster() -> None:
    """It comes up though the cluster is away and no runtime is installed, and says what is away."""
    home = Path(tempfile.mkdtemp(prefix="conch-kube-"))
    (home / "ca.pem").write_text("")
    profile = home / "lab.yaml"
    profile.write_text(SITE_FILE.replace("NAMESPACE", "models"))
    kubeconfig = write_kubeconfig(
        home / "kubeconfig", url="https://127.0.0.1:9", ca=home / "ca.pem", token="t"
    )
    settings = platform_settings(
        home, kserve=KServeSettings(profile=profile, kubeconfig=kubeconfig)
    )
    assert "api.inference_port" not in platform.ports(settings, own_mlflow=False)
    try:
        found = platform.up(settings, runtime_root=home / "no-runtime", mlflow=False)
        assert [process.name for process in found.processes] == ["control"]
        with Client(settings.control_url, key=read_key(home)) as client:
            assert client.healthy()["status"] == "ok"
            assert client.models() == []
        ready = httpx.get(f"{settings.control_url}/readyz", timeout=60)
        assert ready.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "control" in CommandLine(home=home).run("status").out
    finally:
        platform.down(settings)
    assert not platform.status(settings).running
    shutil.rmtree(home)
