"""From MLflow's own pages: a person registers a model, calls it champion, and it is served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from mlflow_fixtures import scaling_onnx
from platform_fixtures import until
from playwright.sync_api import Page, expect, sync_playwright
from whole_platform import Platform, running_whole_platform

from conch.control.settings import TakeUpSettings

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NAME = "shop-model"
ROWS = np.ones((3, 4), np.float32)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason="chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A platform that takes up the version that has the alias `champion`."""
    with running_whole_platform(take_up=TakeUpSettings(mode="alias", alias="champion")) as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A browser's page; what it showed last is kept where the test fails."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        try:
            yield page
        finally:
            page.screenshot(path=tmp_path / "last.png")
            browser.close()


def test_an_alias_set_in_the_browser_serves_the_model(platform: Platform, page: Page) -> None:
    """Registering alone serves nothing; the alias does, and conch's tags are on the same page."""
    client, uri = platform.client, platform.settings.mlflow_uri
    until(lambda: client.mlflow()["kept_at"] is not None)
    run = _log_model(uri)
    page.goto(f"{uri}/#/experiments/{run.experiment_id}/runs/{run.run_id}")
    page.get_by_role("link", name="model", exact=True).click()
    page.get_by_role("button", name="Register model").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox", name="Model").click()
    page.get_by_text("Create New Model").last.click()
    form.get_by_label("Model Name").fill(NAME)
    form.get_by_role("button", name="Register").click()
    page.get_by_role("link", name=NAME).click()

    until(lambda: [one["name"] for one in client.models()] == [NAME])
    assert client.version(NAME, 1)["status"] == "registered"

    page.get_by_role("button", name="Add", exact=True).click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox").press_sequentially("champion")
    form.get_by_role("combobox").press("Enter")
    form.get_by_role("button", name="Save aliases").click()
    expect(page.get_by_text("@ champion")).to_be_visible()

    start = time.monotonic()
    assert client.wait_live(NAME, 1, timeout_s=60) == 1
    print(f"live {time.monotonic() - start:.2f} s after the page showed the alias")
    answer = client.predict(NAME, {"x": ROWS.tolist()})
    np.testing.assert_allclose(answer["outputs"]["y"], 2 * ROWS)

    registry = MlflowClient(uri, uri)
    until(lambda: registry.get_model_version(NAME, "1").tags.get("conch.status") == "live")
    page.reload()
    expect(page.get_by_text("conch.status", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("live", exact=True)).to_be_visible()


def _log_model(uri: str) -> Any:
    """Log a model in a run, unregistered, as training does; return the run's info."""
    import mlflow
    from mlflow.models import infer_signature

    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("shop")
        with mlflow.start_run(run_name="trained") as run:
            mlflow.onnx.log_model(
                scaling_onnx(),
                name="model",
                signature=infer_signature({"x": ROWS}, {"y": ROWS}),
                input_example={"x": ROWS},
                pip_requirements=["onnx"],
            )
    finally:
        mlflow.set_tracking_uri("")
    return run.info
