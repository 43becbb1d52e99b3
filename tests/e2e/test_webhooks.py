"""MLflow calls, and conch is there at once: the road from a registration without a sweep."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from platform_fixtures import until
from whole_platform import Platform, fresh, perceptron, register

from conch.control.doctor import diagnose, observe

pytestmark = pytest.mark.real

ROWS = np.random.default_rng(5).standard_normal((16, 8)).astype(np.float32)


def test_a_registration_is_taken_up_without_a_sweep(whole_platform: Platform) -> None:
    """conch's own server calls conch: a version registered in MLflow is live seconds later.

    The sweep of this platform comes once a minute, and nobody asks for one.
    """
    client, settings = whole_platform.client, whole_platform.settings
    assert settings.mlflow.sweep_s >= 60
    until(lambda: whole_platform.client.mlflow()["kept_at"] is not None)
    network, name = perceptron(11, inputs=8), fresh("called")
    number = register(network, name, settings.mlflow_uri, rows=ROWS)
    start = time.monotonic()
    known_s = until(lambda: name in {one["name"] for one in client.models()})
    client.wait_live(name, number, timeout_s=60)
    print(f"known {known_s:.2f} s, live {time.monotonic() - start:.2f} s after the registration")
    assert known_s < 5
    assert whole_platform.client.mlflow()["last_delivery_at"] is not None


def test_the_webhook_is_signed_and_kept(whole_platform: Platform) -> None:
    """The own server holds one webhook to the control API, with a secret that survives it."""
    settings = whole_platform.settings
    until(lambda: whole_platform.client.mlflow()["kept_at"] is not None)
    server = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    [hook] = server.list_webhooks()
    assert hook.url == settings.webhook_url
    assert server.test_webhook(hook.webhook_id).response_status == httpx.codes.OK
    assert (settings.home / "mlflow.key").stat().st_mode & 0o077 == 0
    key = (settings.home / "mlflow.key").read_text().strip()
    assert key not in (settings.home / "serving" / "desired.json").read_text()


def test_the_doctor_finds_a_platform_that_runs_well(whole_platform: Platform) -> None:
    """Nothing but what the machine lacks: test deliveries arrive, clocks agree, WAL is on."""
    facts = observe(whole_platform.settings)
    found = {finding.code for finding in diagnose(facts)} - {
        "build-same-user",
        "build-unconfined",
        "disk-low",
        "memory-low",
    }
    assert not found
    assert facts.runtime is not None
    assert facts.runtime.numpy.startswith("1.")
    assert facts.mlflow is not None
    assert facts.mlflow.version == facts.mlflow.client
    assert facts.database is not None
    assert facts.database.journal_mode == "wal"
