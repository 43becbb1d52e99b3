"""Questions to a running Envoy through its admin socket."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

from ..errors import GatewayUnavailableError
from .listeners import ADMIN_SOCKET, STAT_PREFIX
from .routes import RDS_NAME


class EnvoyAdmin:
    """The admin interface of the Envoy whose working directory is given.

    Args:
        directory: Envoy's working directory.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(self, directory: Path, *, timeout_s: float = 2.0) -> None:
        self._directory = directory
        self._timeout_s = timeout_s

    def get(self, path: str) -> str:
        """Return the body of a GET.

        Raises:
            GatewayUnavailableError: Nothing answers, or with another status than 200.
        """
        return self._ask("GET", path)

    def post(self, path: str) -> str:
        """Send a POST, which is how Envoy takes commands; raises as `get` does."""
        return self._ask("POST", path)

    def live(self) -> bool:
        """Tell whether Envoy has its configuration and listens for callers.

        Envoy calls itself live even where its port belonged to another program, and then has the
        listener for mirrored requests alone.
        """
        try:
            listening = f"\n{self.get('/listeners')}"
            return self.get("/ready").strip() == "LIVE" and "\ninference::" in listening
        except GatewayUnavailableError:
            return False

    def routes_version(self) -> tuple[str, int]:
        """Return the version of the routing table in force, and how often one was refused."""
        prefix = f"http.{STAT_PREFIX}.rds.{RDS_NAME}."
        version, refused = "", 0
        for line in self.get(f"/stats?filter=rds%5C.{RDS_NAME}%5C.").splitlines():
            name, _, value = line.removeprefix(prefix).partition(": ")
            if name == "version_text":
                version = value.strip().strip('"')
            elif name in ("update_rejected", "update_failure"):
                refused += int(value)
        return version, refused

    def reopen_logs(self) -> None:
        """Make Envoy open its access log again under its name."""
        self.post("/reopen_logs")

    def active_requests(self) -> int:
        """Return how many requests are being served."""
        text = self.get(f"/stats?filter=http%5C.{STAT_PREFIX}%5C.downstream_rq_active%24")
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines() if line)

    def healthy_ports(self) -> dict[str, set[int]]:
        """Return the ports of the servers that Envoy would send to, by cluster."""
        found: dict[str, set[int]] = {}
        for line in self.get("/clusters").splitlines():
            words = line.split("::")
            port = words[1].rpartition(":")[2] if len(words) == 4 else ""
            if words[2:] == ["health_flags", "healthy"] and port.isdecimal():  # else a socket
                found.setdefault(words[0], set()).add(int(port))
        return found

    def _ask(self, method: str, path: str) -> str:
        connection = _UnixConnection(self._directory, timeout_s=self._timeout_s)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayUnavailableError(
                f"Envoy does not answer on its admin socket in {self._directory}: {error}.",
                hint="See 'conch status' and the log envoy.log.",
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise GatewayUnavailableError(
                f"Envoy answered {answer.status} to {path}: {body.strip()}."
            )
        return body


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket whose directory may be of any depth.

    A socket's address holds 107 bytes at most, so it goes through the process's own handle of
    the directory.
    """

    def __init__(self, directory: Path, *, timeout_s: float) -> None:
        super().__init__("envoy", timeout=timeout_s)
        self._directory = directory

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{handle}/{ADMIN_SOCKET}")
        finally:
            os.close(handle)
