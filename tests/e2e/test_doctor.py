"""The doctor on a platform that lost its supervisor, and on one that was brought down."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_fixtures import until

from conch import local
from conch.control import platform
from conch.control.doctor import Facts, diagnose, observe
from conch.control.settings import MlflowSettings, Settings, read_settings

pytestmark = pytest.mark.real


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings of a platform whose MLflow is away; its home has a short path, for sockets."""
    home = Path(tempfile.mkdtemp(prefix="conch-e2e-"))
    found = platform.with_free_ports(
        read_settings(home=home, mlflow=MlflowSettings(uri="http://127.0.0.1:9", timeout_s=2))
    )
    local.install()
    try:
        yield found
    finally:
        platform.down(found)
        shutil.rmtree(home)


def codes(facts: Facts) -> set[str]:
    """Return what is found, but for what this machine lacks and the server that is away."""
    expected = {
        "build-same-user",
        "build-unconfined",
        "disk-low",
        "memory-low",
        "mlflow-unreachable",
    }
    return {finding.code for finding in diagnose(facts)} - expected


def test_a_lost_supervisor_is_told_from_a_platform_that_is_down(settings: Settings) -> None:
    """Killed, the supervisor leaves a finding, and its servers' ports none; stopped, nothing."""
    platform.up(settings)
    assert codes(observe(settings)) == {"control-unready"}  # it never saw the registry
    home = platform.serving_home(settings)
    supervisor = local.running(home)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: local.running(home) is None)
    assert codes(observe(settings)) == {"supervisor-gone"}
    platform.up(settings)
    platform.down(settings)
    assert codes(observe(settings)) == set()
