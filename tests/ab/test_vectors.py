"""The vectors run against the product's own functions, through the same command people use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "vectors").glob("*.json"))


def _run(folder: Path) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, str(HERE / "run_vectors.py"), str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    code, found, printed = _run(HERE / "vectors")
    assert code == 0, printed
    assert not found["unknown"]
    return found


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_case_of_a_family_passes(path: Path, report: dict[str, Any]) -> None:
    """Every case of every family agrees with the library that computed it."""
    vectors = json.loads(path.read_text())
    counts = report["families"][vectors["family"]]
    assert counts == {"passed": len(vectors["cases"]), "failed": 0}


def test_a_wrong_expectation_fails_the_run(tmp_path: Path) -> None:
    """A vector that disagrees makes the command exit 1; unknown families are named."""
    vectors = json.loads((HERE / "vectors" / "srm_scipy.json").read_text())
    vectors["cases"][0]["expected"]["p_value_pearson"] += 1e-3
    (tmp_path / "srm_scipy.json").write_text(json.dumps(vectors))
    (tmp_path / "other.json").write_text(json.dumps({"family": "unheard_of", "cases": []}))
    code, found, printed = _run(tmp_path)
    assert code == 1
    assert found["families"]["srm_scipy"]["failed"] == 1
    assert found["unknown"] == ["unheard_of"]
    assert vectors["cases"][0]["id"] in printed


def test_a_folder_without_vectors_is_not_a_success(tmp_path: Path) -> None:
    """An empty folder exits 1: nothing was checked."""
    assert _run(tmp_path)[0] == 1
