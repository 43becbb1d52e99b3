"""The tutorial works as printed: every block is run in order, on a platform that is up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from whole_platform import Platform

pytestmark = pytest.mark.real

TUTORIAL = Path(__file__).resolve().parents[2] / "docs/tutorial/first-release.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(900)  # a platform, two builds and two releases
def test_the_tutorial_runs(whole_platform: Platform, tmp_path: Path) -> None:
    """Its ports are those of the test's platform; only its last command, `conch down`, is left."""
    settings = whole_platform.settings
    ports = {
        "5000": settings.mlflow.port,
        "8080": settings.api.inference_port,
        "8090": settings.api.control_port,
    }
    text = re.sub(
        r"127\.0\.0\.1:(5000|8080|8090)",
        lambda found: f"127.0.0.1:{ports[found[1]]}",
        TUTORIAL.read_text(),
    )
    blocks = BLOCK.findall(text)
    assert blocks[-1] == ("sh", "conch down\n")
    # MLflow leaves the experiment of other tests, on another server, in the environment.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment = inherited | {
        "CONCH_HOME": str(settings.home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    said = ""
    for kind, body in blocks[:-1]:
        if kind == "python":
            (tmp_path / "train.py").write_text(body)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", body],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    assert "rolled-back" in said or "rolled back" in said
    client = whole_platform.client
    assert client.wait_live("pixels", timeout_s=10) == 2
