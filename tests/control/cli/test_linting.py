"""`conch lint` needs nothing but files, and its exit code is the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conch.control.cli import app

CLEAN = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: digits, annotations: {serving.kserve.io/deploymentMode: MODE}}
spec:
  predictor:
    CANARY
    model: {modelFormat: {name: onnx}, storageUri: "s3://models/digits"}
"""


@pytest.mark.parametrize(
    ("mode", "canary", "code"),
    [
        pytest.param("Knative", "minReplicas: 1", 0, id="clean"),
        pytest.param("Standard", "canaryTrafficPercent: 10", 1, id="a percentage that is ignored"),
        pytest.param("Knative", "canaryTraficPercent: 10", 1, id="a field that does not exist"),
    ],
)
def test_the_exit_code_is_the_verdict(tmp_path: Path, mode: str, canary: str, code: int) -> None:
    """Clean is 0, findings are 1, and JSON says the same as the text."""
    path = tmp_path / "digits.yaml"
    path.write_text(CLEAN.replace("MODE", mode).replace("CANARY", canary))
    words = ["lint", "--kserve-version", "0.20", "--mode", mode.lower(), str(path)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == code, shown.output
    as_json = CliRunner().invoke(app, ["-o", "json", *words])
    assert as_json.exit_code == code
    found = json.loads(as_json.stdout)
    if code:
        assert canary.partition(":")[0] in shown.stdout
        assert canary.partition(":")[0] in json.dumps(found)


def test_what_cannot_be_used_is_two(tmp_path: Path) -> None:
    """A file that is not there, or that is not YAML, is no verdict on manifests."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("{")
    for path in (broken, tmp_path / "missing.yaml"):
        assert CliRunner().invoke(app, ["lint", str(path)]).exit_code == 2


def test_an_unknown_version_names_the_known_ones() -> None:
    """The message says what is supported."""
    found = CliRunner().invoke(app, ["lint", "--kserve-version", "0.7", "x.yaml"])
    assert found.exit_code == 1
    assert "0.20" in found.output
