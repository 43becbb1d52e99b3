"""Where everything of one local target lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conch.core import SlotName


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one local target; every path of it is named here and nowhere else."""

    root: Path

    @property
    def desired(self) -> Path:
        """What should run and be loaded."""
        return self.root / "desired.json"

    @property
    def observed(self) -> Path:
        """What the supervisor saw last."""
        return self.root / "observed.json"

    @property
    def lock(self) -> Path:
        """Held by the one supervisor of this home."""
        return self.root / "supervisor.lock"

    @property
    def routes(self) -> Path:
        """The routing table that the gateway acknowledged last."""
        return self.root / "routes.json"

    @property
    def envoy(self) -> Path:
        """Envoy's working directory: bootstrap and the files that it watches."""
        return self.root / "envoy"

    @property
    def endpoints(self) -> Path:
        """One endpoint file for each Envoy cluster."""
        return self.envoy / "endpoints"

    @property
    def logs(self) -> Path:
        """Log files, one for each process, and the access log."""
        return self.root / "logs"

    @property
    def access_log(self) -> Path:
        """One JSON line for each request through the gateway."""
        return self.logs / "access.log"

    def slot(self, slot: SlotName) -> Path:
        """Return a slot's folder."""
        return self.root / "slots" / slot

    def repository(self, slot: SlotName) -> Path:
        """Return the Triton model repository that a slot's servers share."""
        return self.slot(slot) / "repository"

    def staging(self, slot: SlotName) -> Path:
        """Return the folder beside the repository where model folders are prepared."""
        return self.slot(slot) / "staging"

    def slot_lock(self, slot: SlotName) -> Path:
        """Return the lock that serialises changes of a slot's repository."""
        return self.slot(slot) / "lock"

    def create(self) -> None:
        """Make the folders, private to the user; existing ones are kept."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.envoy, self.endpoints, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create_slot(self, slot: SlotName) -> None:
        """Make a slot's folders; existing ones are kept."""
        self.repository(slot).mkdir(parents=True, exist_ok=True)
        self.staging(slot).mkdir(parents=True, exist_ok=True)
