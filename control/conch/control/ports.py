"""What the control plane asks of the outside, as protocols: the target and the workshop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from conch.core import BuildRef, SlotName, TargetState, TrafficSplit, TritonName
from conch.model_repo_builder import BuildRequest, Manifest


class Target(Protocol):
    """Where models are served: one machine, or a cluster."""

    def observe(self) -> TargetState:
        """Return the target as it is now; a server that cannot be asked is shown as such."""

    def routes(self) -> Mapping[TritonName, TrafficSplit]:
        """Return the routing table in force, as `observe` does, without looking at any server."""

    def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        """Load and warm a build on every ready server of a slot, in place of the model's former.

        Idempotent. Raises a `ConchError` with the server's own words when it does not load; what
        served before then still serves.
        """

    def unload(self, model: TritonName, slot: SlotName) -> None:
        """Take a model out of a slot; does nothing where it is not there."""

    def infer(
        self,
        model: TritonName,
        slot: SlotName,
        inputs: Mapping[str, np.ndarray],
        *,
        replica: int = 0,
        timeout_s: float,
    ) -> Mapping[str, np.ndarray]:
        """Ask one server of a slot directly, past the routes."""

    def quarantined(self) -> Mapping[str, str]:
        """Return the builds that the target does not load any more, each with the reason."""

    def scale(self, slot: SlotName, replicas: int) -> None:
        """Change how many servers a slot has; new ones get traffic once they hold what it holds."""

    def set_routes(self, splits: Sequence[TrafficSplit]) -> None:
        """Make these splits the whole routing table; returns once the data plane acknowledged.

        Raises:
            InvalidValueError: Two splits are for one model.
        """


class Workshop(Protocol):
    """What turns a fetched version into a verified build."""

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> Manifest:
        """Build and verify; raises a `ConchError` that says why where it does not succeed."""
