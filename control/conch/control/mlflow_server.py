"""conch's own MLflow server: `python -m conch.control.mlflow_server --home FOLDER`.

Becomes `mlflow server` with the variables that let it call conch. The encryption key goes from its
file to the environment of this process only, and neither into an argument nor another file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .keys import ENCRYPTION_NAME, ensure_key
from .settings import Settings, read_settings, running_settings

ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a second slower to start, and not needed
    # The control API is plain http on this machine, which MLflow would not call otherwise.
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # seconds that a new webhook may miss events; 60 by default
}


def folder_of(home: Path) -> Path:
    """Return where the server keeps its database and artifacts."""
    return home / "mlflow"


def command(settings: Settings) -> list[str]:
    """Return the program and arguments of the server."""
    folder = folder_of(settings.home)
    return [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", settings.api.host, "--port", str(settings.mlflow.port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]


def main() -> None:
    """Read the arguments and become the server."""
    parser = argparse.ArgumentParser(prog="python -m conch.control.mlflow_server")
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    key = ensure_key(home, ENCRYPTION_NAME)
    argv = command(running_settings(home) or read_settings(home=home))
    own = {**ENVIRONMENT, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": key}
    os.execve(argv[0], argv, {**os.environ, **own})


if __name__ == "__main__":
    main()
