"""What a build did and did not do, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a build, taken or not.

    Attributes:
        name: Its name, kebab-case; variants as `<format>:<precision>`.
        taken: Whether it was done.
        reason: What it did, or why it was skipped.
        seconds: How long it took.
    """

    name: str
    taken: bool
    reason: str
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form without the time, which no two builds share."""
        return {"name": self.name, "taken": self.taken, "reason": self.reason}
