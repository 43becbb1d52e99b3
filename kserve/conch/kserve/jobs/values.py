"""What a Job on a cluster is, as one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ProfileError
from ..workloads import Resources

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A claim that a Job's container sees.

    Attributes:
        claim: The PersistentVolumeClaim, in the Job's namespace.
        path: Where it is mounted.
        folder: The folder of the claim that is; empty for all of it.
    """

    claim: str
    path: str
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An object that a Job goes with: deleting it deletes the Job and its pods.

    Attributes:
        api_version: Its API version.
        kind: Its kind.
        name: Its name; it lives in the Job's namespace.
        uid: Its identity.
    """

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJob:
    """A program that runs once, in one pod, and is not tried again by the cluster.

    Attributes:
        name: Its name; the same name and content is the same Job.
        namespace: Where it runs.
        image: What it runs in.
        command: What it runs.
        env: Environment variables.
        resources: What its container asks for; requests equal limits.
        gpu_resource: The resource that GPUs are asked for as.
        node_labels: Labels that its node has to have, such as a type of GPU.
        volumes: What it shares with whoever asked for it.
        deadline_s: After so long it is ended, waiting for a node included, in seconds.
        keep_s: For so long it stays to be looked at once it has ended, in seconds.
        account: Its service account; empty for the namespace's default. It gets no token.
        owner: What it goes with; None: it is deleted by whoever asked for it, or after `keep_s`.
    """

    name: str
    namespace: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    gpu_resource: str = "nvidia.com/gpu"
    node_labels: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    deadline_s: int = 3600
    keep_s: int = 86_400
    account: str = ""
    owner: Owner | None = None

    @property
    def amounts(self) -> dict[str, str]:
        """What its container asks for, by resource."""
        found = {"cpu": self.resources.cpu, "memory": self.resources.memory}
        if self.resources.gpus:
            found[self.gpu_resource] = str(self.resources.gpus)
        return found

    @property
    def asks(self) -> str:
        """What it asks of a node, in words."""
        wanted = [f"{name} {amount}" for name, amount in self.amounts.items()]
        labels = [f"{name}={value}" for name, value in sorted(self.node_labels.items())]
        return ", ".join(wanted) + (f" on a node with {', '.join(labels)}" if labels else "")

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ProfileError(f"{self.name!r} cannot name a Job.", hint="Use a DNS label.")
        if not self.image or not self.command:
            raise ProfileError(f"The Job {self.name!r} states no image or no command.")
        if self.deadline_s < 1 or self.keep_s < 0:
            raise ProfileError(f"The Job {self.name!r} has a deadline of {self.deadline_s} s.")
