"""What is counted on a whole platform: by conch's own looks, and by a real Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CommandLine
from ports import free_port
from whole_platform import Platform, perceptron, register, running_whole_platform

from conch.control.metrics import Metrics
from conch.control.settings import MetricsSettings
from conch.core import Arm, Ordinal, SlotName, TrafficSplit, TritonName

pytestmark = pytest.mark.real

ROWS = np.random.default_rng(5).standard_normal((16, 16)).astype(np.float32)
EVERY_S, WINDOW_S = 0.5, 3.0


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A platform that is looked at often."""
    with running_whole_platform(
        metrics=MetricsSettings(every_s=EVERY_S, window_s=WINDOW_S)
    ) as found:
        register(perceptron(1), "counted", found.settings.mlflow_uri, rows=ROWS)
        found.client.sweep()
        found.client.wait_live("counted", timeout_s=90)
        yield found


def asked_until(platform: Platform, condition: Callable[[], bool]) -> None:
    """Ask the model for predictions until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        platform.client.predict("counted", {"input": ROWS[:1].tolist()})


def test_conch_counts_what_an_arm_does(platform: Platform) -> None:
    """Requests, none of which failed, and time in the queue; the command shows the same."""

    def seen() -> dict[str, Any]:
        (arm,) = platform.client.arm_metrics("counted")
        readings: dict[str, Any] = arm["readings"]
        return readings

    asked_until(platform, lambda: (seen()["requests_per_s"]["value"] or 0) > 1)
    found = seen()
    assert found["failure_share"]["value"] == 0
    assert found["queue_ms"]["value"] is not None, found["queue_ms"]
    assert found["mean_ms"]["value"] >= found["queue_ms"]["value"]
    conch = CommandLine(home=platform.settings.home)
    assert "/s" in conch.run("metrics", "show", "counted").out


def test_a_real_prometheus_takes_the_printed_configuration(
    platform: Platform, tmp_path: Path
) -> None:
    """Checked by promtool; what it then scrapes gives the same arm its numbers."""
    config = tmp_path / "prometheus.yml"
    conch = CommandLine(home=platform.settings.home)
    config.write_text(conch.run("metrics", "scrape-config").out)
    promtool = shutil.which("promtool")
    assert promtool is not None, "the Debian package `prometheus` is missing"
    subprocess.run([promtool, "check", "config", str(config)], check=True, capture_output=True)
    (arm,) = platform.client.deployment("counted")["arms"]
    split = TrafficSplit(
        model=TritonName("counted"),
        arms=(
            Arm(
                slot=SlotName(arm["slot"]),
                ordinal=Ordinal(arm["ordinal"]),
                build_id=arm["build_id"],
                weight=10_000,
            ),
        ),
        salt="s",
    )
    with prometheus(config, tmp_path / "data") as url:
        metrics = Metrics(
            lambda: (),
            now=time.time,
            every_s=EVERY_S,
            window_s=WINDOW_S,
            prometheus_url=url,
        )

        def requests() -> float:
            return metrics.arms(split)[0].readings.requests_per_s.value or 0.0

        asked_until(platform, lambda: requests() > 1)
        query = f"{url}/api/v1/query?query=conch_live"
        with urllib.request.urlopen(query) as answer:
            result = json.load(answer)["data"]["result"]
    assert float(result[0]["value"][1]) >= 1


@contextmanager
def prometheus(config: Path, data: Path) -> Iterator[str]:
    """Run a Prometheus for the block."""
    port = free_port()
    argv = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (data.parent / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
