"""Reference data sets: whose they are; a build asks their rows and judges by their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_platform import running_memory_platform

from conch.control.settings import BuildSettings, SettingsInvalidError, read_settings
from conch.model_repo_builder.task_metrics import METRICS


def rows_file(folder: Path) -> Path:
    """Rows of the scaling models, with numbers that are about their answers."""
    rows = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    path = folder / "rows.npz"
    np.savez(path, x=rows, label=2 * rows)
    return path


def test_a_build_asks_the_rows_that_the_operator_named(tmp_path: Path) -> None:
    """Of the models that the line is about, and of no other; the report tells what came of it."""
    line = {"models": ["with-*"], "path": str(rows_file(tmp_path)), "metric": "mae"}
    build = BuildSettings.model_validate({"references": [line]})
    with running_memory_platform(tmp_path, build=build) as platform:
        reports: dict[str, Any] = {}
        for name in ("with rows", "with-rows"):
            platform.live(name)
            version = platform.client.version(name, 1)
            reports[name] = platform.client.report(version["build_id"])
    assert "reference-1" not in str(reports["with rows"])
    assert "reference-1" in str(reports["with-rows"])
    assert "mae" in str(reports["with-rows"])


def test_the_metrics_are_those_that_the_builder_knows() -> None:
    """The settings name them without importing the builder."""
    from conch.control.settings import ReferenceSettings

    kinds = ReferenceSettings.model_json_schema()["properties"]["metric"]["anyOf"]
    assert set(kinds[0]["enum"]) == set(METRICS)


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    """With the line that names it."""
    (tmp_path / "conch.toml").write_text(
        '[[build.references]]\nmodels = ["x"]\npath = "x.npz"\nmetric = "acuracy"\n'
    )
    with pytest.raises(SettingsInvalidError, match="metric"):
        read_settings(home=tmp_path)
