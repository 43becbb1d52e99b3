"""Reading what KServe says of an InferenceService, without believing what misleads.

Sources, KServe's API types and controller: `status.observedGeneration` is that of the child and is
not looked at. `Ready` may be Unknown while an update is on its way and the revision before it
serves everything (kserve issue 5443). In Standard mode `Ready` stays True while a Deployment still
rolls (issue 4626), so that the Deployment itself is read. `lastFailureInfo` is not cleared by a
later success, so that it counts only while the transition says that something failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from .cluster.resources import Object
from .manifests.objects import PREFIX

BUILDS_ANNOTATION: Final = f"{PREFIX}/builds"
_FAILED: Final = ("BlockedByFailedLoad", "InvalidSpec")


class Verdict(StrEnum):
    """What a condition says; a missing one is unknown."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionShare:
    """One destination of the split in force (Knative mode).

    Attributes:
        revision: The revision's name.
        percent: Its share.
        latest: Whether it is there as the newest ready one.
        tag: The tag that names it in an address; empty without.
        url: Its own address, where it has a tag.
    """

    revision: str
    percent: int
    latest: bool = False
    tag: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryShare:
    """One entry of `spec.canary` as it stands (Standard mode).

    Attributes:
        name: The canary predictor's name.
        ready: Whether its Deployment has an available replica.
        percent: The share that is in force.
    """

    name: str
    ready: bool
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """An InferenceService as its controllers see it.

    Attributes:
        ready: The condition `Ready`.
        created: The newest revision; empty in Standard mode.
        newest_ready: The newest revision that became ready.
        rolled_out: The revision that last had everything.
        traffic: The split in force.
        canaries: The canaries in force.
        url: Where the service is called.
        failure: Why the newest model does not load, as a sentence; empty while nothing failed.
        stopped: Whether it was stopped on purpose.
    """

    ready: Verdict
    created: str = ""
    newest_ready: str = ""
    rolled_out: str = ""
    traffic: tuple[RevisionShare, ...] = ()
    canaries: tuple[CanaryShare, ...] = ()
    url: str = ""
    failure: str = ""
    stopped: bool = False

    @property
    def settled(self) -> bool:
        """Whether no revision is on its way (Knative mode)."""
        return self.created != "" and self.created == self.newest_ready

    @property
    def serves(self) -> bool:
        """Whether callers are answered: ready, or still by what was ready before an update."""
        if self.stopped:
            return False
        if self.ready is Verdict.UNKNOWN:
            return any(share.percent for share in self.traffic)
        return self.ready is Verdict.TRUE

    def share_of(self, revision: str) -> int:
        """Return the percentage that a revision has, under whatever tag."""
        return sum(share.percent for share in self.traffic if share.revision == revision)


def read_service(body: Object) -> ServiceStatus:
    """Return what an InferenceService's status says."""
    status = body.get("status") or {}
    predictor = (status.get("components") or {}).get("predictor") or {}
    conditions = _conditions(status)
    traffic = [_share(each) for each in predictor.get("traffic") or ()]
    return ServiceStatus(
        ready=conditions.get("Ready", (Verdict.UNKNOWN, ""))[0],
        created=predictor.get("latestCreatedRevision", ""),
        newest_ready=predictor.get("latestReadyRevision", ""),
        rolled_out=predictor.get("latestRolledoutRevision", ""),
        traffic=tuple(traffic),
        canaries=tuple(_canary(each) for each in status.get("canaryStatuses") or ()),
        url=status.get("url", ""),
        failure=_failure(status, conditions),
        stopped=conditions.get("Stopped", (Verdict.UNKNOWN, ""))[0] is Verdict.TRUE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """A Deployment that KServe made for a predictor (Standard mode).

    Attributes:
        builds: What its pods serve, see `BUILDS_ANNOTATION`.
        complete: Whether every pod is of the newest template and available.
        available: How many pods are.
        failure: Why it does not get on, as a sentence; empty while it does.
    """

    builds: str
    complete: bool
    available: int
    failure: str = ""


def read_deployment(body: Object) -> DeploymentStatus:
    """Return how far a Deployment is, by `kubectl rollout status`'s own rule."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    notes = spec.get("template", {}).get("metadata", {}).get("annotations") or {}
    wanted = spec.get("replicas", 1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    seen = status.get("observedGeneration", 0) >= body["metadata"].get("generation", 0)
    failure = ""
    for each in status.get("conditions") or ():
        if each.get("reason") == "ProgressDeadlineExceeded" and seen:
            failure = f"its pods did not become ready in time: {each.get('message', '')}"
    return DeploymentStatus(
        builds=str(notes.get(BUILDS_ANNOTATION, "")),
        complete=seen and updated >= wanted and total == updated and available >= wanted,
        available=available,
        failure=failure.rstrip(": "),
    )


def route_acknowledged(body: Object) -> bool:
    """Tell whether a gateway has taken an HTTPRoute as it stands now."""
    generation = body["metadata"].get("generation", 0)
    parents = (body.get("status") or {}).get("parents") or ()
    return any(
        {"Accepted", "ResolvedRefs"}
        <= {
            each["type"]
            for each in parent.get("conditions") or ()
            if each.get("status") == "True" and each.get("observedGeneration", 0) >= generation
        }
        for parent in parents
    )


def route_failure(body: Object) -> str:
    """Return why a gateway does not take an HTTPRoute, as a sentence; empty while it may."""
    generation = body["metadata"].get("generation", 0)
    for parent in (body.get("status") or {}).get("parents") or ():
        for each in parent.get("conditions") or ():
            if each.get("status") == "False" and each.get("observedGeneration", 0) >= generation:
                return f"{each.get('reason', 'refused')}: {each.get('message', '')}".rstrip(": ")
    return ""


def _conditions(status: Mapping[str, Any]) -> dict[str, tuple[Verdict, str]]:
    return {
        each["type"]: (Verdict(each.get("status", "Unknown")), each.get("message", ""))
        for each in status.get("conditions") or ()
    }


def _share(each: Mapping[str, Any]) -> RevisionShare:
    return RevisionShare(
        revision=each.get("revisionName", ""),
        percent=each.get("percent") or 0,
        latest=bool(each.get("latestRevision")),
        tag=each.get("tag", ""),
        url=each.get("url", ""),
    )


def _canary(each: Mapping[str, Any]) -> CanaryShare:
    return CanaryShare(
        name=each.get("name", ""),
        ready=bool(each.get("ready")),
        percent=each.get("trafficPercent") or 0,
    )


def _failure(status: Mapping[str, Any], conditions: Mapping[str, tuple[Verdict, str]]) -> str:
    model = status.get("modelStatus") or {}
    transition = model.get("transitionStatus", "")
    if transition not in _FAILED:
        return ""
    info = model.get("lastFailureInfo") or {}
    reason = str(info.get("reason", ""))
    said = str(info.get("message", "")).strip().rstrip(".")
    sentence = _REASONS.get(reason, "the model does not load")
    code = info.get("exitCode")
    parts = [sentence]
    if reason and reason not in _REASONS:
        parts.append(f"KServe gives the reason {reason}")
    if said:
        parts.append(f"it says: {said}")
    if code:
        parts.append(_EXITS.get(int(code), f"its container ended with code {code}"))
    predictor = conditions.get("PredictorReady", (Verdict.UNKNOWN, ""))
    if not said and predictor[0] is Verdict.FALSE and predictor[1]:
        parts.append(f"KServe says: {predictor[1].rstrip('.')}")
    return "; ".join(parts)


_REASONS: Final = {
    "ModelLoadFailed": "the server could not load the model",
    "RuntimeUnhealthy": "the server started and is not healthy",
    "RuntimeDisabled": "the serving runtime is disabled on the cluster",
    "NoSupportingRuntime": "no serving runtime on the cluster takes this model",
    "RuntimeNotRecognized": "the serving runtime does not exist on the cluster",
    "InvalidPredictorSpec": "KServe does not accept the predictor",
    "InvalidGPUAllocation": "the GPUs cannot be given",
}
"""KServe's `FailureReason` values."""

_EXITS: Final = {
    137: "its container was killed, mostly for using more memory than its limit",
    139: "its container crashed (segmentation fault)",
    143: "its container was told to stop",
}


def explain(status: ServiceStatus) -> Sequence[str]:
    """Return the status as lines for people."""
    lines = [f"ready: {status.ready}"]
    if status.ready is Verdict.UNKNOWN and status.serves:
        lines = ["ready: yes, by the revision before; an update is on its way"]
    if status.failure:
        lines.append(f"newest model: {status.failure}")
    lines += [
        f"{share.percent} % to {share.revision}{' (newest ready)' if share.latest else ''}"
        for share in status.traffic
    ]
    lines += [
        f"{canary.percent} % to canary {canary.name}{'' if canary.ready else ' (not ready)'}"
        for canary in status.canaries
    ]
    return lines
