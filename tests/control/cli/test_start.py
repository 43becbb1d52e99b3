"""The program as it is started: quick help, nothing slow before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_SLOW = (
    "numpy",
    "fastapi",
    "httpx",
    "mlflow",
    "onnx",
    "pydantic",
    "sqlalchemy",
    "torch",
    "uvicorn",
)


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_slow() -> None:
    """The command line is there before any of the libraries that its commands use."""
    code = f"import conch.control.cli, sys; print([m for m in {_SLOW!r} if m in sys.modules])"
    assert _python("-c", code).stdout.strip() == "[]"


def test_the_installed_program_answers() -> None:
    """`conch` is installed beside this Python, says its version, and lists its commands."""
    program = Path(sys.executable).with_name("conch")
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stdout.strip()) == (0, version("conch"))
    shown = subprocess.run(
        [program, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0
    for word in ("up", "down", "status", "models", "release", "predict", "logs", "runtime"):
        assert word in shown.stdout
