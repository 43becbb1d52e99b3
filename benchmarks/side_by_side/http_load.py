"""HTTP load with wrk, Debian's package of that name."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .figures import Run

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_GRACE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLoad:
    """A closed loop over HTTP.

    Attributes:
        url: Where requests go.
        bodies: File with one body a line, sent in turn.
        connections: Each has one request under way at most.
        seconds: How long.
        longest_pause_ms: A connection waits up to so long between two requests; 0: not at all.
    """

    url: str
    bodies: Path
    connections: int
    seconds: float
    longest_pause_ms: int = 0

    def run(self) -> Run:
        """Send the load and return what came of it.

        Raises:
            RuntimeError: wrk is not there, or did not run.
        """
        if shutil.which("wrk") is None:
            raise RuntimeError("wrk is not installed: apt-get install wrk")
        # One thread serves 64 connections and leaves the most to the servers.
        argv = ["wrk", "--threads", "1", "--connections", str(self.connections)]
        argv += ["--duration", f"{self.seconds:.0f}s", "--timeout", "10s", "--script", str(_SCRIPT)]
        argv += [self.url, "--", str(self.bodies), str(self.longest_pause_ms)]
        limit = self.seconds + _GRACE_S
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
        return read_run(done.stdout)


def read_run(output: str) -> Run:
    """Return the run that wrk's script printed as the last line."""
    return Run(**json.loads(output.strip().splitlines()[-1]))


def write_bodies(path: Path, bodies: Iterable[str]) -> Path:
    """Write request bodies, one a line."""
    path.write_text("".join(f"{body}\n" for body in bodies), encoding="utf-8")
    return path
