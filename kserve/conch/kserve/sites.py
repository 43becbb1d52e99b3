"""Where models are served on a cluster, and what every model there gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .profiles import Profile
from .workloads import Resources, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Builds:
    """Where builds run as Jobs, instead of in the control plane's own process.

    Attributes:
        image: An image with conch's builder in it, and with what models need to be loaded.
        claim: The PersistentVolumeClaim that holds the control plane's builds.
        namespace: Where the claim is, and Jobs run.
        claim_folder: The folder of builds on the claim.
        resources: What one Job asks for.
        wait_s: How long a Job may wait for a node and its image, beside the time of its build.
        account: The Jobs' service account; empty for the namespace's default.
    """

    image: str
    claim: str
    namespace: str
    claim_folder: str = "builds"
    resources: Resources = field(default_factory=lambda: Resources(cpu="2", memory="8Gi"))
    wait_s: int = 1800
    account: str = ""


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
        builds: Where builds run; None: with the control plane.
    """

    profile: Profile
    namespace: str
    uri: str
    folder: Path | None = None
    gateway_url: str = ""
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
    builds: Builds | None = None
