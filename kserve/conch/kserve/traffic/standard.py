"""Reading slots whose servers are Deployments of their own (Standard mode)."""

from __future__ import annotations

from typing import Final

from ..manifests.objects import predictor_name
from ..serving.records import Held, Record
from ..serving.seeing import Progress, Seen, State

_RANDOM: Final = 5
_LONGEST_STEM: Final = 58


def builds_text(record: Record, held: Held) -> str:
    """Return what pods with a build carry as `conch.dev/builds`."""
    return f"{record.model}/{held.ordinal}={held.build_id}"


def cluster_host(record: Record, name: str) -> str:
    """Return the name of a predictor's Service within the cluster."""
    return f"{predictor_name(name)}.{record.namespace}.svc.cluster.local"


def is_pod_of(deployment: str, pod: str) -> bool:
    """Tell whether a pod is one of a Deployment's: `DEPLOYMENT-HASH-` and five letters.

    Kubernetes cuts what comes before the five letters to 58 (`names.SimpleNameGenerator`).

    >>> is_pod_of("digits-a-predictor", "digits-a-predictor-7c9f5d8b6-x2x4q")
    True
    >>> is_pod_of("digits-a", "digits-a-predictor-7c9f5d8b6-x2x4q")
    False
    """
    stem = pod[:-_RANDOM]
    if len(stem) == _LONGEST_STEM and f"{deployment}-".startswith(stem):
        return True
    rest = stem.removeprefix(f"{deployment}-")
    return rest != stem and rest.rstrip("-").isalnum()


def rollout(record: Record, seen: Seen, held: Held, *, service: str, name: str) -> Progress:
    """Return how far the Deployment of a predictor is with a build.

    Args:
        service: The InferenceService that it belongs to.
        name: The predictor's name, as Deployments are called after it.
    """
    found = seen.deployment(predictor_name(name))
    status = seen.service(service)
    if found is None or found.builds != builds_text(record, held):
        if status.failure and status.failure != held.blamed:
            return Progress(state=State.FAILED, reason=status.failure)
        return Progress(state=State.WAITING, reason="KServe has not made its Deployment yet")
    if found.complete:
        return Progress(state=State.READY)
    failure = found.failure or (status.failure if status.failure != held.blamed else "")
    if failure:
        return Progress(state=State.FAILED, reason=failure)
    return Progress(state=State.WAITING, reason="its servers are not ready yet")


def answers(record: Record, seen: Seen, held: Held, name: str) -> bool:
    """Tell whether servers with a build can answer now."""
    found = seen.deployment(predictor_name(name))
    return found is not None and found.available > 0 and found.builds == builds_text(record, held)
