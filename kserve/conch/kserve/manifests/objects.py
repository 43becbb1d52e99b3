"""What all manifests share: labels, names of parts, ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from conch.core import TOTAL_WEIGHT

from ..profiles import Profile
from ..workloads import Slot, Workload

Manifest = dict[str, Any]

HTTP_PORT: Final = 8080
GRPC_PORT: Final = 9000
METRICS_PORT: Final = 8002
SERVICE_PORT: Final = 80
"""Where KServe's Service listens for the first port of the container (Standard mode)."""

PREFIX: Final = "conch.dev"
SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"
"""KServe puts it on the pods and the Service of an InferenceService, in both modes."""


def metadata(
    profile: Profile,
    workload: Workload,
    name: str,
    *,
    slot: Slot | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the `metadata` of one object of a workload."""
    own = {
        "app.kubernetes.io/managed-by": "conch",
        "app.kubernetes.io/part-of": workload.name,
        f"{PREFIX}/profile": profile.name,
    }
    if slot is not None:
        own[f"{PREFIX}/slot"] = slot.slot
    meta: Manifest = {
        "name": name,
        "namespace": workload.namespace,
        "labels": {**own, **(labels or {})},
    }
    if annotations:
        meta["annotations"] = dict(annotations)
    return meta


def shared_metadata(
    name: str, *, namespace: str = "", annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Return the `metadata` of an object that workloads share; cluster-scoped without namespace.

    It names no workload, so that all of them write the same text.
    """
    meta: Manifest = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    meta["labels"] = {"app.kubernetes.io/managed-by": "conch"}
    if annotations:
        meta["annotations"] = dict(annotations)
    return meta


def service_name(profile: Profile, workload: Workload, slot: Slot) -> str:
    """Return the name of a slot's InferenceService; one may hold all slots, see `Traffic`."""
    return workload.name if profile.one_service else f"{workload.name}-{slot.slot}"


def predictor_name(service: str) -> str:
    """Return what KServe calls an InferenceService's Deployment and Service (Standard mode)."""
    return f"{service}-predictor"


def rendered_slots(profile: Profile, workload: Workload) -> tuple[Slot, ...]:
    """Return the slots that have an InferenceService: all, or the one in `spec.predictor`."""
    if profile.knative:
        return (candidate(workload)[0],)
    return (stable(workload),) if profile.one_service else workload.slots


def stable(workload: Workload) -> Slot:
    """Return the slot that `spec.predictor` holds beside `spec.canary`."""
    by_name = {slot.slot: slot for slot in workload.slots}
    if workload.primary is not None:
        return by_name[workload.primary]
    return max(workload.slots, key=lambda slot: workload.weight(slot) or 0)


def candidate(workload: Workload) -> tuple[Slot, int | None]:
    """Return the slot whose models Knative's next revision holds, and its percentage.

    With one slot there is nothing to divide and the percentage is None. With two, the candidate is
    the primary slot, else the first arm of the split, else the slot that no split names, at 0 %.
    """
    if len(workload.slots) == 1:
        return workload.slots[0], None
    if workload.primary is not None:
        chosen = next(slot for slot in workload.slots if slot.slot == workload.primary)
        return chosen, (workload.weight(chosen) or 0) * 100 // TOTAL_WEIGHT
    arms = workload.splits[0].arms if workload.splits else ()
    by_name = {slot.slot: slot for slot in workload.slots}
    if len(arms) == 2:
        return by_name[arms[0].slot], arms[0].weight * 100 // TOTAL_WEIGHT
    stable = arms[0].slot if arms else workload.slots[0].slot
    return next(slot for slot in workload.slots if slot.slot != stable), 0


def builds_of(slot: Slot) -> str:
    """Return what a slot serves, for annotations: `model/ordinal=build`, joined by commas."""
    return ",".join(
        f"{served.model}/{served.ordinal}={served.build_id}"
        for served in sorted(slot.models, key=lambda served: served.model)
    )
