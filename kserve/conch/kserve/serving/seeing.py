"""What a cluster shows of one workload, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..cluster.resources import Object
from ..statuses import DeploymentStatus, ServiceStatus, Verdict, read_deployment, read_service

NO_SERVICE = ServiceStatus(ready=Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A workload's objects that others write to.

    Attributes:
        services: InferenceServices by name.
        deployments: Deployments that KServe made, by name (Standard mode).
        route: conch's HTTPRoute, where there is one.
    """

    services: Mapping[str, Object] = field(default_factory=dict)
    deployments: Mapping[str, Object] = field(default_factory=dict)
    route: Object | None = None

    def service(self, name: str) -> ServiceStatus:
        """Return what an InferenceService says; nothing where there is none."""
        body = self.services.get(name)
        return NO_SERVICE if body is None else read_service(body)

    def deployment(self, name: str) -> DeploymentStatus | None:
        """Return how far a Deployment is; None where there is none."""
        body = self.deployments.get(name)
        return None if body is None else read_deployment(body)


class State(StrEnum):
    """How far servers with a build are."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far servers with a build are.

    Attributes:
        state: In one word.
        revision: The revision that holds it, when ready in Knative mode.
        reason: Why it failed, or what is waited for.
    """

    state: State
    revision: str = ""
    reason: str = ""
