"""Looking at everything that the platform needs; changes nothing, and raises for nothing it sees.

The one thing that leaves a trace is MLflow's test delivery, which conch takes and finds to be about
nothing.
"""

from __future__ import annotations

import os
import platform as machine
import sqlite3
import subprocess
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil
from sqlalchemy.engine import make_url

from conch import local
from conch.core import ConchError
from conch.model_repo_builder import isolation_gaps

from .. import platform
from ..client import Client
from ..keys import KEY_NAMES
from ..settings import Settings
from ..state import Database
from .asking_mlflow import ask_mlflow
from .facts import (
    DatabaseFacts,
    Facts,
    FileFacts,
    PlatformFacts,
    PortFacts,
    RuntimeFacts,
    ServerFacts,
)

_TIMEOUT_S: Final = 10.0
_MODE: Final = 0o777


def observe(settings: Settings, *, runtime_root: Path | None = None) -> Facts:
    """Look at everything once; takes some seconds, most of them for the serving runtime.

    Args:
        settings: Those that the platform runs with, or would.
        runtime_root: Where the serving runtimes are; None: the user's cache.
    """
    home, own_mlflow = settings.home, settings.mlflow.uri is None
    there = _nearest(home)
    state = _platform(settings)
    reachable = not own_mlflow or state.running
    fit = state.running and not state.control_problem
    return Facts(
        conch=version("conch"),
        python=machine.python_version(),
        home_path=str(home),
        home=_file(home) if home.exists() else None,
        home_writable=os.access(there, os.W_OK | os.X_OK),
        keys=tuple(_file(home / name) for name in KEY_NAMES if (home / name).exists()),
        disk_free_bytes=psutil.disk_usage(str(there)).free,
        memory_available_bytes=psutil.virtual_memory().available,
        ports=_ports(settings, own_mlflow=own_mlflow),
        unconfined=isolation_gaps(),
        mlflow_missing=own_mlflow and not platform.mlflow_server_installed(),
        serves=settings.serves_here,
        runtime=_runtime(settings, runtime_root) if settings.serves_here else None,
        mlflow=ask_mlflow(settings, deliver=fit) if reachable else None,
        database=_database(settings),
        platform=state,
        servers=_servers(settings, runtime_root) if settings.serves_here else (),
    )


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _file(path: Path) -> FileFacts:
    seen = path.stat()
    return FileFacts(
        path=str(path),
        mode=seen.st_mode & _MODE,
        empty=path.is_file() and seen.st_size == 0,
    )


def _ports(settings: Settings, *, own_mlflow: bool) -> tuple[PortFacts, ...]:
    found = []
    for setting, port in platform.due_ports(settings, own_mlflow=own_mlflow).items():
        held = ""
        try:
            platform.check_free(settings.api.host, port)
        except platform.PortTakenError as error:
            held = error.message
        found.append(PortFacts(setting=setting, port=port, held=held))
    return tuple(found)


def _runtime(settings: Settings, root: Path | None) -> RuntimeFacts | None:
    runtime = local.find(root, spec=platform.runtime_spec(settings))
    if runtime is None:
        return None
    return RuntimeFacts(
        path=str(runtime.root), problems=tuple(local.check(runtime)), numpy=_numpy(runtime)
    )


def _servers(settings: Settings, root: Path | None) -> tuple[ServerFacts, ...]:
    runtime = local.find(root, spec=platform.runtime_spec(settings))
    if runtime is None:
        return ()
    try:
        serving = platform.local_settings(settings)
        problems = local.unusable(serving, runtime, platform.serving_home(settings))
    except ConchError as error:
        problems = [error]
    return tuple(ServerFacts(code=one.code, what=f"{one.message} {one.hint}") for one in problems)


def _numpy(runtime: local.Runtime) -> str:
    """Return the version that is installed there; empty where its interpreter cannot tell."""
    code = "from importlib.metadata import version; print(version('numpy'))"
    try:
        done = subprocess.run(
            [str(runtime.python), "-c", code],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _database(settings: Settings) -> DatabaseFacts | None:
    url = make_url(settings.database)
    shown = url.render_as_string(hide_password=True)
    journal_mode = None
    try:
        if url.get_backend_name() == "sqlite":
            path = Path(url.database or "")
            if not path.exists():
                return None
            journal_mode = _journal_mode(path)  # before SQLAlchemy's connection, which sets it
        database = Database(settings.database)
        with closing(database):
            revision, known = database.revision()
    except ConchError as error:
        return DatabaseFacts(url=shown, problem=error.message, journal_mode=journal_mode)
    except sqlite3.Error as error:
        return DatabaseFacts(url=shown, problem=f"{shown}: {error}.")
    return DatabaseFacts(url=shown, journal_mode=journal_mode, revision=revision, known=known)


def _journal_mode(path: Path) -> str:
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_S)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _platform(settings: Settings) -> PlatformFacts:
    seen = platform.status(settings)
    if not seen.running:
        return PlatformFacts(running=False, processes=seen.processes)
    problem = ""
    with Client(settings.control_url, timeout_s=_TIMEOUT_S) as client:
        try:
            client.ready()
        except ConchError as error:
            problem = error.message
    return PlatformFacts(running=True, processes=seen.processes, control_problem=problem)
