"""The real capture process beside a real data plane."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_fixtures import LocalPlatform, until

from conch.control.capturing.reading import read_captured
from conch.control.capturing.spooling import SPOOL_NAME, STATUS_NAME
from conch.events import AccessLogReader, EventLog, Prediction


class CaptureProcess:
    """A capture process that runs, and the event log that its lines go to."""

    def __init__(self, home: Path, log: EventLog, platform: LocalPlatform) -> None:
        self.home = home
        self.log = log
        self.folder = home / "events" / "captured"
        self._socket = platform.home / "envoy" / "capture.sock"
        self._reader = AccessLogReader(
            self.folder / SPOOL_NAME, log, name="captured", read=read_captured
        )
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._socket.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "conch.control.capturing.serving", "--home", str(self.home)]
        with (self.home / "capture.log").open("ab") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=output)
        until(self._socket.exists, timeout_s=120)

    def predictions(self, count: int, *, since: int = 0) -> list[Prediction]:
        """Wait for so many captured requests from an offset on, and return all."""

        def arrived() -> bool:
            self._reader.poll()
            return self.log.next_offset - since >= count

        until(arrived)
        events = [stored.event for stored in self.log.read(since, limit=10_000)]
        return [event for event in events if isinstance(event, Prediction)]

    def status(self) -> dict[str, int]:
        """Return what the process says of itself."""
        found: dict[str, int] = json.loads((self.folder / STATUS_NAME).read_text())
        return found

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def capturing(
    folder: Path, platform: LocalPlatform, *, settings: str = ""
) -> Iterator[CaptureProcess]:
    """Run a capture process for a platform; its settings are text of `conch.toml`."""
    (folder / "conch.toml").write_text(settings)
    (folder / "serving").symlink_to(platform.home)
    with EventLog(folder / "log") as log:
        process = CaptureProcess(folder, log, platform)
        try:
            yield process
        finally:
            process.process.terminate()
            process.process.wait()
