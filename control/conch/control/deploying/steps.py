"""What the reconciler can do, as values: decided by `deciding.py`, written by `applying.py`."""

from __future__ import annotations

from dataclasses import dataclass

from conch.core import ConchError, SlotName

from ..plans import Plan
from ..state import Build, DeploymentStatus, Experiment, Json, Release, Serving, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBuild:
    """Queue the build of a version that policy took up."""

    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Record why a version cannot be served."""

    version: Version
    reason: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class FailServing:
    """Record why a build could not be loaded into its slot."""

    serving: Serving
    reason: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Give a model's first build a deployment and a slot."""

    build: Build
    slot: SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLoad:
    """Queue the loading, warming and preflight of a build in its slot."""

    serving: Serving
    build: Build


@dataclass(frozen=True, slots=True, kw_only=True)
class GoLive:
    """Make a loaded first build the one that answers."""

    build: Build


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRelease:
    """Release a verified build by itself, as policy says."""

    build: Build
    plan: Plan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTraffic:
    """Let a release whose candidate passed its preflight begin."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class AskApproval:
    """Hold a release, whose candidate is ready, until a person lets it begin."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRelease:
    """End a release whose candidate cannot serve."""

    release: Release
    reason: ConchError


@dataclass(frozen=True, slots=True, kw_only=True)
class DivideTraffic:
    """Let an experiment begin whose arms all passed their preflight."""

    experiment: Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class EndExperiment:
    """End an experiment of which an arm cannot serve, or whose control is not live any more."""

    experiment: Experiment
    reason: ConchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Record that a build crashed its servers: neither it nor its version serves any more."""

    build: Build
    reason: ConchError


@dataclass(frozen=True, slots=True, kw_only=True)
class GoBack:
    """Give everything back to the build that was live before, without a person's word."""

    release: Release
    build: Build
    reason: ConchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Take a build that nobody needs any more out of the routes."""

    serving: Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """Unload a retired build; the one step that acts on the target."""

    serving: Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStatus:
    """Write the deployment's status."""

    status: DeploymentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """Write how many servers the live build has."""

    count: int


RowStep = (
    RequestBuild
    | Refuse
    | Place
    | RequestLoad
    | FailServing
    | GoLive
    | StartRelease
    | StartTraffic
    | AskApproval
    | EndRelease
    | DivideTraffic
    | EndExperiment
    | Quarantine
    | GoBack
    | Retire
    | SetStatus
    | SetReplicas
)
Step = RowStep | Unload
