"""Real processes: identity, adoption, orphans, further services."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from platform_fixtures import running_platform, until

from conch.local import (
    DesiredFile,
    Home,
    Identity,
    LocalSettings,
    Runtime,
    ServiceSpec,
    identify,
    read_observed,
    wait_until_ready,
)
from conch.local.processes import Processes

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('here', flush=True); time.sleep(600)",
]


def _spawn(processes: Processes, name: str, argv: list[str], log: Path) -> Identity:
    identity = processes.spawn(
        name, argv, environment={"PATH": os.environ["PATH"]}, directory=None, log=log
    )
    until(lambda: log.exists() and "here" in log.read_text())
    return identity


def test_how_a_process_ended_is_known(tmp_path: Path) -> None:
    """Exit status and signal are told apart, and stay known."""
    processes = Processes(tmp_path)
    victim = _spawn(processes, "v", SLEEPER, tmp_path / "v.log")
    assert processes.exit_reason(victim) is None
    processes.terminate(victim)
    until(lambda: processes.exit_reason(victim) is not None)
    assert processes.exit_reason(victim) == "killed by SIGTERM"
    failing = processes.spawn(
        "f", [sys.executable, "-c", "raise SystemExit(3)"], environment={}, directory=None,
        log=tmp_path / "f.log",
    )  # fmt: skip
    until(lambda: processes.exit_reason(failing) is not None)
    assert processes.exit_reason(failing) == "exit status 3"


def test_a_successor_recognises_processes_by_number_and_start(tmp_path: Path) -> None:
    """Another watcher of the same home adopts; a reused number or another home is not ours."""
    first = Processes(tmp_path)
    identity = _spawn(first, "s", SLEEPER, tmp_path / "s.log")
    try:
        second = Processes(tmp_path)
        assert second.exit_reason(identity) is None
        reused = Identity(pid=identity.pid, started=f"1{identity.started}")
        assert second.exit_reason(reused) is not None
        assert Processes(tmp_path / "other").exit_reason(identity) is not None
        ourselves = identify(os.getpid())
        assert ourselves is not None
        assert second.exit_reason(ourselves) is not None
    finally:
        first.kill("s", identity)
    until(lambda: first.exit_reason(identity) is not None)


def test_killing_ends_children_and_spares_others(tmp_path: Path) -> None:
    """All that a process started goes with it; another name and another home stay."""
    processes, elsewhere = Processes(tmp_path / "h"), Processes(tmp_path / "g")
    parent = _spawn(processes, "p", PARENT, tmp_path / "p.log")
    other = _spawn(processes, "q", SLEEPER, tmp_path / "q.log")
    foreign = _spawn(elsewhere, "p", SLEEPER, tmp_path / "r.log")
    children = psutil.Process(parent.pid).children()
    assert len(children) == 1
    try:
        processes.kill("p", parent)
        until(lambda: not children[0].is_running())
        assert processes.exit_reason(parent) is not None
        assert processes.exit_reason(other) is None
        assert elsewhere.exit_reason(foreign) is None
    finally:
        processes.kill("q", other)
        elsewhere.kill("p", foreign)


@pytest.mark.real
def test_further_services_are_started_watched_and_ended(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """A service is up when its URL answers, comes back after `kill -9`, and ends with the rest."""
    script = (
        "import http.server, os, sys;"
        "h = http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])),"
        " http.server.SimpleHTTPRequestHandler); h.serve_forever()"
    )
    home = tmp_path / "home"
    port = 17_000 + os.getpid() % 900
    service = ServiceSpec(
        name="notes",
        argv=(sys.executable, "-c", script),
        environment={"PORT": str(port)},
        directory=tmp_path,
        ready_url=f"http://127.0.0.1:{port}/",
    )
    settings = LocalSettings(inference_port=0, control_address=f"127.0.0.1:{port}")
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "hello").write_text("hi")
    DesiredFile(Home(home)).set_up(settings=settings, runtime=serving_runtime, services=(service,))
    with running_platform(home, serving_runtime) as platform:
        until(lambda: platform.get("/v1/hello").status == 200)
        first = platform.pid("notes")
        os.kill(first, signal.SIGKILL)
        until(lambda: platform.pid_or_none("notes") not in (None, first))
        wait_until_ready(home)
        observed = read_observed(Home(home))
        assert observed is not None
        assert observed.instances["notes"].restarts == 1
        assert observed.instances["notes"].last_exit == "killed by SIGKILL"
        last = platform.pid("notes")
    until(lambda: not psutil.pid_exists(last))


@pytest.mark.real
def test_everything_is_ready_within_seconds(tmp_path: Path, serving_runtime: Runtime) -> None:
    """Two servers and the gateway answer well under eight seconds after the start."""
    start = time.monotonic()
    with running_platform(tmp_path, serving_runtime) as platform:
        assert time.monotonic() - start < 8
        assert platform.get("/v2/health/ready").status == 200
