"""A control plane with its real API over real HTTP, on a target and a registry in memory."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from memory_registry import MemoryRegistry
from memory_target import MemoryTarget
from tabled_evidence import TabledEvidence

from conch.control.api import create_app
from conch.control.client import Client
from conch.control.keys import FETCH_NAME, WEBHOOK_NAME, ensure_key
from conch.control.metrics import Metrics
from conch.control.payloads import Intake, PayloadReader, PayloadSource
from conch.control.plane import ControlPlane
from conch.control.ports import Target
from conch.control.recording import Recording
from conch.control.settings import (
    ApiSettings,
    MlflowSettings,
    ReleaseSettings,
    ServingSettings,
    Settings,
    read_settings,
)
from conch.control.state import Database
from conch.model_repo_builder import (
    BuildCancelledError,
    BuildRequest,
    Manifest,
    WorkerCrashedError,
    build,
)

_LOOK_EVERY_S = 0.02


class Workshop:
    """The `Workshop` protocol: the real builder, in this process.

    Attributes:
        open: Cleared, builds wait at the door until it is set again or they are cancelled.
        crashes: How many of the next builds end as if their worker had died.
    """

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.crashes = 0

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> Manifest:
        progress(0.0, "waiting at the door")
        while not self.open.wait(_LOOK_EVERY_S):
            if cancelled():
                raise BuildCancelledError("The build was cancelled at the door.")
        if self.crashes:
            self.crashes -= 1
            raise WorkerCrashedError("The build worker was killed.")
        return build(request, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlatform:
    """A control plane that runs, and what is around it."""

    plane: ControlPlane
    target: MemoryTarget
    registry: MemoryRegistry
    workshop: Workshop
    evidence: TabledEvidence
    settings: Settings
    client: Client
    key: str
    fetch_key: str
    folder: Path

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.settings.control_url

    def register(self, name: str, *, factor: float = 2.0, **given: Any) -> int:
        """Register a model that multiplies its rows; return the version's number."""
        path = self.folder / f"{abs(hash((name, factor)))}.onnx"
        write_scaling(path, factor=factor)
        version = self.registry.register_path(name, path, **given)
        self.client.sweep()
        return version.number

    def live(self, name: str, *, factor: float = 2.0, **given: Any) -> int:
        """Register a model's first version and wait until it answers."""
        number = self.register(name, factor=factor, **given)
        return self.client.wait_live(name, number, timeout_s=60)

    def verified(self, name: str, *, factor: float) -> int:
        """Register a further version and wait until it is verified."""
        number = self.register(name, factor=factor)
        self.client.wait_verified(name, number, timeout_s=60)
        return number


@pytest.fixture(scope="module")
def memory_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryPlatform]:
    """The file's platform; every test uses model names of its own.

    It takes half a second to start, and its loops would take time from all tests that come after.
    """
    with running_memory_platform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@contextmanager
def running_memory_platform(
    home: Path,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on: Target | None = None,
    counted: bool = True,
    listener: socket.socket | None = None,
    payloads: PayloadSource | None = None,
    registry: MemoryRegistry | None = None,
    **given: Any,
) -> Iterator[MemoryPlatform]:
    """Run a platform for the block; its settings are in the home, as `conch up` leaves them.

    Args:
        now: The control plane's clock.
        on: The target that it acts on; None: the platform's own, in memory.
        counted: Whether somebody looks at what servers count; there are none here to look at.
        listener: Where the API answers; None: on a free port.
        payloads: A cluster whose payload events are the evidence; None: the table is.
        registry: Where models are registered; None: one of its own.
        given: Groups of settings over those of the tests.
    """
    registry_folder = home / "registry"
    registry_folder.mkdir(exist_ok=True)
    listener = listener or socket.create_server(("127.0.0.1", 0))
    intake = None if payloads is None else Intake(payloads)
    slots = given["serving"].slots if "serving" in given else ServingSettings().slots
    target, workshop = MemoryTarget(slots), Workshop()
    registry = registry or MemoryRegistry(registry_folder)
    evidence = TabledEvidence()
    with ExitStack() as stack:
        entry = stack.enter_context(target.entry())
        settings = read_settings(
            home=home,
            api=ApiSettings(
                control_port=listener.getsockname()[1], inference_port=int(entry.split(":")[-1])
            ),
            mlflow=MlflowSettings(sweep_s=3600),
            **({"release": ReleaseSettings(look_s=0.05)} | given),
        )
        settings.save()
        key, fetch_key = ensure_key(home), ensure_key(home, FETCH_NAME)
        plane = ControlPlane(
            settings=settings,
            database=Database(settings.database),
            registry=registry,
            target=on or target,
            workshop=workshop,
            evidence=evidence if intake is None else None,
            intake=intake,
            now=now,
            webhook_secret=ensure_key(home, WEBHOOK_NAME),
            metrics=Metrics(lambda: (), now=time.time, every_s=10, window_s=60)
            if counted
            else None,
            recording=Recording(
                home=home,
                access_log=home / "access.log",
                settings=settings.events,
                reader=None if intake is None else partial(PayloadReader, intake),
            ),
        )
        plane.start()
        stack.callback(plane.stop)
        stack.enter_context(served(create_app(plane, key=key, fetch_key=fetch_key), listener))
        client = stack.enter_context(Client(settings.control_url, key=key))
        yield MemoryPlatform(
            plane=plane,
            target=target,
            registry=registry,
            workshop=workshop,
            evidence=evidence,
            settings=settings,
            client=client,
            key=key,
            fetch_key=fetch_key,
            folder=home,
        )


@contextmanager
def served(app: Any, listener: socket.socket) -> Iterator[None]:
    """Run an app in a thread; requests that come before it is up wait in the listener's queue."""
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def write_scaling(path: Path, *, factor: float, features: int = 4) -> None:
    """Write an ONNX model: `x`, float32[rows, features], times a factor, into `y`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.full(features, factor, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", features])],
        initializer=[weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
