"""Triton servers as somebody else would run them: started by hand, unknown to any supervisor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from platform_fixtures import until
from ports import free_port

from conch.core import SlotName
from conch.local import GivenServer, Home, LocalSettings, Runtime


@dataclass(slots=True, kw_only=True)
class HandStarted:
    """A server that runs, or can be started again on its ports.

    Attributes:
        repository: The folder that it has as its model repository.
        mode: Its `--model-control-mode`.
    """

    runtime: Runtime
    repository: Path
    log: Path
    mode: str = "explicit"
    given: GivenServer = field(
        default_factory=lambda: GivenServer(
            host="127.0.0.1", http_port=free_port(), grpc_port=free_port()
        )
    )
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.repository.mkdir(parents=True, exist_ok=True)
        argv = [
            str(self.runtime.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.runtime.backends}",
            f"--model-control-mode={self.mode}",
            "--disable-auto-complete-config",
            "--strict-readiness=false",
            "--exit-on-error=false",
            f"--http-port={self.given.http_port}",
            f"--grpc-port={self.given.grpc_port}",
            "--allow-metrics=false",
            f"--backend-config=python,shm-region-prefix-name=hand_{self.given.http_port}_",
        ]
        environment = {**os.environ, **self.runtime.environment}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        until(self._answers, timeout_s=60)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self.given.http_port}/v2/health/live"
        try:
            with urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def hand_started(
    home: Path, runtime: Runtime, slots: Sequence[str] = ("a", "b")
) -> Iterator[tuple[Mapping[str, HandStarted], LocalSettings]]:
    """Start a server for each slot of a home, and return them with settings that name them."""
    servers = {
        slot: HandStarted(
            runtime=runtime,
            repository=Home(home.resolve()).repository(SlotName(slot)),
            log=home / f"hand-{slot}.log",
        )
        for slot in slots
    }
    try:
        for server in servers.values():
            server.start()
        yield (
            servers,
            LocalSettings(
                inference_port=0,
                slots=dict.fromkeys(slots, 1),
                servers={slot: (server.given,) for slot, server in servers.items()},
            ),
        )
    finally:
        for server in servers.values():
            server.kill()
