"""Where models are served on a cluster, and what every model there gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .profiles import Profile
from .workloads import Resources, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A profile with what its file says of the models there.

    Attributes:
        profile: The cluster.
        namespace: Where models are served.
        uri: Above the builds, as servers see it, such as `pvc://models/builds`; `conch://` where
            servers fetch them from conch.
        folder: The same place as this machine sees it; None: builds are put there by others.
        gateway_url: An address that leads to the servers from here; empty: their own names do.
        resources: What one server asks for.
        scaling: How many servers a slot has.
    """

    profile: Profile
    namespace: str
    uri: str
    folder: Path | None = None
    gateway_url: str = ""
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
