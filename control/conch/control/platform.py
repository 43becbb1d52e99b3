"""Bringing the whole platform up and down on this machine."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from conch import local
from conch.core import ConchError, InvalidValueError

from . import mlflow_server
from .keys import KEY_NAMES, ensure_key
from .settings import GivenServer, Settings, running_settings

CONTROL: Final = "control"
MLFLOW: Final = "mlflow"
CAPTURE: Final = "capture"
_LISTENERS: Final = {
    "api.inference_port": "envoy",
    "api.control_port": CONTROL,
    "mlflow.port": MLFLOW,
}
"""Which process listens on the port of a setting."""
_MLFLOW_START_S: Final = 180.0


class PortTakenError(ConchError):
    """A port that conch was told to listen on belongs to another program."""

    code = "port-taken"


class MlflowMissingError(ConchError):
    """conch was to start an MLflow server, which is not installed."""

    code = "mlflow-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process under supervision.

    Attributes:
        phase: What it is doing, such as `ready`.
        restarts: How often it was started again after it ended by itself.
        last_exit: How it ended last; empty if it never did.
    """

    name: str
    phase: str
    pid: int | None
    restarts: int
    last_exit: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformStatus:
    """The platform as its supervisor saw it last.

    Attributes:
        running: Whether a supervisor runs.
    """

    running: bool
    home: Path
    control_url: str
    inference_url: str
    mlflow_url: str
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether everything runs and answers."""
        return self.running and all(process.phase == "ready" for process in self.processes)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form."""
        return {
            "running": self.running,
            "ready": self.ready,
            "home": str(self.home),
            "control_url": self.control_url,
            "inference_url": self.inference_url,
            "mlflow_url": self.mlflow_url,
            "processes": [
                {
                    "name": process.name,
                    "phase": process.phase,
                    "pid": process.pid,
                    "restarts": process.restarts,
                    "last_exit": process.last_exit,
                    "log": process.log,
                }
                for process in self.processes
            ],
        }


def serving_home(settings: Settings) -> Path:
    """Return the local target's folder within the home."""
    return settings.home / "serving"


def local_settings(settings: Settings) -> local.LocalSettings:
    """Return the local target's part of the settings.

    How many servers each slot has was perhaps changed by `conch scale` since: that stands until
    the settings say something other than they did when the platform was last brought up.
    """
    serving = settings.serving
    slots: Mapping[str, int] = dict.fromkeys(serving.slots, serving.replicas)
    before = running_settings(settings.home)
    if before is not None and _sizes(before) == _sizes(settings):
        desired = local.DesiredFile(local.Home(serving_home(settings))).read()
        slots = slots if desired is None else desired.settings.slots
    given = {slot: tuple(map(_given, servers)) for slot, servers in serving.servers.items()}
    return local.LocalSettings(
        slots={**slots, **{slot: len(servers) for slot, servers in given.items()}},
        servers=given,
        tritonserver=serving.tritonserver,
        backend_directory=serving.backend_directory,
        serves=settings.serves_here,
        inference_host=settings.api.host,
        inference_port=settings.api.inference_port,
        control_address=f"{settings.api.host}:{settings.api.control_port}",
    )


def runtime_spec(settings: Settings) -> local.RuntimeSpec:
    """Return which serving runtime the settings ask for."""
    return local.RuntimeSpec(engines=settings.serving.engines)


def _given(server: GivenServer) -> local.GivenServer:
    parts = urlsplit(server.http)
    assert parts.hostname is not None, "the pattern has one"
    assert parts.port is not None, "the pattern has one"
    try:
        host = socket.gethostbyname(parts.hostname)
    except OSError as error:
        raise InvalidValueError(
            f"The server {server.http} cannot be found: {error}.",
            hint="Correct the name in `serving.servers`.",
        ) from error
    grpc_port = parts.port + 1 if server.grpc_port is None else server.grpc_port
    return local.GivenServer(host=host, http_port=parts.port, grpc_port=grpc_port)


def up(
    settings: Settings,
    *,
    runtime_root: Path | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
    mlflow: bool = True,
    timeout_s: float = 240.0,
) -> PlatformStatus:
    """Start everything in the background and wait until it is ready; a second call just waits.

    Args:
        runtime_root: Where the serving runtimes are; None: the user's cache.
        on_progress: Takes one line for each process that became ready.
        mlflow: Whether to start an MLflow server where the settings name none.
        timeout_s: How long to wait.

    Raises:
        RuntimeMissingError: `conch runtime install` was not run.
        PortTakenError: Another program listens where conch should.
        SupervisorMissingError: Something did not become ready; the message names it.
    """
    prepare(settings, runtime_root=runtime_root, mlflow=mlflow)
    local.launch(serving_home(settings))
    local.wait_until_ready(serving_home(settings), timeout_s=timeout_s, progress=on_progress)
    return status(settings)


def wait(settings: Settings, *, timeout_s: float) -> None:
    """Wait until everything that should run is ready and the gateway sends to it.

    Raises:
        SupervisorMissingError: Something did not become ready; the message names it.
    """
    local.wait_until_ready(serving_home(settings), timeout_s=timeout_s)


def prepare(settings: Settings, *, runtime_root: Path | None = None, mlflow: bool = True) -> None:
    """Write what the supervisor should run, without starting it.

    Raises:
        RuntimeMissingError: `conch runtime install` was not run, and this machine is to serve.
        MlflowMissingError: An MLflow server should run and is not installed.
        PortTakenError: Another program listens where conch should.
        TritonUnusableError: The `tritonserver` that the settings name cannot be run.
        ServerUnsuitableError: A server that the settings name answers, and cannot be worked with.
    """
    serving = local_settings(settings)
    runtime = _runtime(settings, runtime_root)
    if settings.serves_here:
        for problem in local.unusable(serving, runtime, serving_home(settings)):
            if not problem.retryable:  # one that is away may come later
                raise problem
    own_mlflow = mlflow and settings.mlflow.uri is None
    if own_mlflow and not mlflow_server_installed():
        raise MlflowMissingError(
            "conch was to start an MLflow server, which is not installed.",
            hint="pip install 'conch[mlflow]', or name yours: CONCH_MLFLOW__URI=http://...",
        )
    for port in due_ports(settings, own_mlflow=own_mlflow).values():
        check_free(settings.api.host, port)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in ("logs", "builds"):
        (settings.home / folder).mkdir(exist_ok=True)
    for name in KEY_NAMES:
        ensure_key(settings.home, name)
    services = [_control(settings)]
    if settings.capture.enabled:
        services.append(_capture(settings))
    if own_mlflow:
        services.insert(0, _mlflow(settings))
    local.DesiredFile(local.Home(serving_home(settings))).set_up(
        settings=serving, runtime=runtime, services=tuple(services)
    )
    settings.save()  # after what it is compared with was written


def _runtime(settings: Settings, root: Path | None) -> local.Runtime:
    """Return the runtime; where a cluster serves nothing is run by it, so it may be missing."""
    spec = runtime_spec(settings)
    if settings.serves_here:
        return local.require(root, spec=spec)
    place = (root or local.default_root()) / spec.digest
    return local.Runtime(root=place, library_directory=place)


def ports(settings: Settings, *, own_mlflow: bool) -> dict[str, int]:
    """Return the ports that the platform listens on, by the setting that names each."""
    found = {"api.inference_port": settings.api.inference_port} if settings.serves_here else {}
    found["api.control_port"] = settings.api.control_port
    return found | ({"mlflow.port": settings.mlflow.port} if own_mlflow else {})


def due_ports(settings: Settings, *, own_mlflow: bool) -> dict[str, int]:
    """Return the ports that have to be free for the platform to come up, by setting.

    Those of its own processes are not among them: what a killed supervisor left running is taken
    over, with its ports.
    """
    home = serving_home(settings)
    if local.running(home) is not None:
        return {}
    alive = local.alive(home)
    wanted = ports(settings, own_mlflow=own_mlflow)
    return {setting: port for setting, port in wanted.items() if _LISTENERS[setting] not in alive}


def check_free(host: str, port: int) -> None:
    """Check that conch could listen on a port.

    Raises:
        PortTakenError: Another program does; the message names it where that can be seen.
    """
    if _bound(host, port) is None:
        raise PortTakenError(
            f"Port {port} of {host} is taken{_by_whom(port)}.",
            hint="Stop that program, or choose another port in conch.toml: "
            "api.inference_port, api.control_port, mlflow.port.",
            port=port,
        )


def mlflow_server_installed() -> bool:
    """Tell whether an MLflow server could be started; reads no more than its package's place."""
    return importlib.util.find_spec("mlflow.server") is not None


def down(settings: Settings, *, timeout_s: float = 60.0) -> bool:
    """Drain and stop everything; return whether anything ran.

    Raises:
        SupervisorMissingError: It did not end in time.
    """
    home = serving_home(settings)
    ran = local.running(home) is not None or bool(local.alive(home))
    local.stop(serving_home(settings), timeout_s=timeout_s)
    return ran


def status(settings: Settings) -> PlatformStatus:
    """Return the platform as it is, without waiting."""
    home = local.Home(serving_home(settings))
    observed = local.read_observed(home)
    processes = [
        ProcessStatus(
            name=name,
            phase=one.phase.value,
            pid=one.pid,
            restarts=one.restarts,
            last_exit=one.last_exit or "",
            log=str(home.logs / f"{name}.log"),
        )
        for name, one in sorted(observed.instances.items() if observed else [])
    ]
    return PlatformStatus(
        running=local.running(serving_home(settings)) is not None,
        home=settings.home,
        control_url=settings.control_url,
        inference_url=settings.inference_url,
        mlflow_url=settings.mlflow_uri,
        processes=tuple(processes),
    )


def with_free_ports(settings: Settings) -> Settings:
    """Return the settings with every port that somebody else holds replaced by a free one."""
    host = settings.api.host
    api = {
        name: _free_port(host, getattr(settings.api, name))
        for name in ("control_port", "inference_port")
    }
    mlflow = {"port": _free_port(host, settings.mlflow.port)}
    return settings.model_copy(
        update={
            "api": settings.api.model_copy(update=api),
            "mlflow": settings.mlflow.model_copy(update=mlflow),
        }
    )


def _sizes(settings: Settings) -> tuple[tuple[str, ...], int]:
    return settings.serving.slots, settings.serving.replicas


def _control(settings: Settings) -> local.ServiceSpec:
    return local.ServiceSpec(
        name=CONTROL,
        argv=(sys.executable, "-m", "conch.control.serving", "--home", str(settings.home)),
        ready_url=f"{settings.control_url}/healthz",
    )


def _capture(settings: Settings) -> local.ServiceSpec:
    return local.ServiceSpec(
        name=CAPTURE,
        argv=(
            *(sys.executable, "-m", "conch.control.capturing.serving"),
            *("--home", str(settings.home)),
        ),
    )


def _mlflow(settings: Settings) -> local.ServiceSpec:
    folder = mlflow_server.folder_of(settings.home)
    folder.mkdir(exist_ok=True)
    return local.ServiceSpec(
        name=MLFLOW,
        argv=(sys.executable, "-m", mlflow_server.__name__, "--home", str(settings.home)),
        directory=folder,
        ready_url=f"{settings.mlflow_uri}/health",
        start_timeout_s=_MLFLOW_START_S,
    )


def _free_port(host: str, wanted: int) -> int:
    found = _bound(host, wanted) or _bound(host, 0)
    assert found is not None, "the system always has a free port to give"
    return found


def _bound(host: str, port: int) -> int | None:
    """Return the port that a program could listen on now; None where the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return ""
