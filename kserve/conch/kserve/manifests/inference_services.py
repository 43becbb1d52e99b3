"""The InferenceService of a slot.

Only `predictor.model` is emitted: the older fields are rewritten by KServe's webhook, and every
comparison with the cluster would show drift.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..profiles import Networking, Profile
from ..versions import MODE_ANNOTATION
from ..workloads import Protocol, Slot, Workload
from .autoscaling import scaling_annotations, scaling_fields
from .objects import (
    PREFIX,
    SERVICE_LABEL,
    Manifest,
    builds_of,
    candidate,
    metadata,
    service_name,
)
from .serving_runtimes import MODEL_FORMAT, runtime_name

_DRAIN_GRACE_S = 45
_CLUSTER_LOCAL = {"networking.kserve.io/visibility": "cluster-local"}


def inference_service(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return the InferenceService that serves a slot."""
    annotations = {
        MODE_ANNOTATION: profile.mode.annotation(profile.version),
        f"{PREFIX}/builds": builds_of(slot),
        **scaling_annotations(profile),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(
            profile,
            workload,
            service_name(profile, workload, slot),
            slot=slot,
            # Only conch's own route is public where there are slots to divide between.
            labels=_CLUSTER_LOCAL if _routed_by_conch(profile) else None,
            annotations=annotations,
        ),
        "spec": {"predictor": _predictor(profile, workload, slot)},
    }


def _routed_by_conch(profile: Profile) -> bool:
    return profile.networking is Networking.GATEWAY_API


def _predictor(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    predictor: Manifest = {
        "serviceAccountName": workload.name,
        "automountServiceAccountToken": False,
        "annotations": {f"{PREFIX}/builds": builds_of(slot)},
        "labels": {"app.kubernetes.io/part-of": workload.name, f"{PREFIX}/slot": slot.slot},
        **scaling_fields(profile, workload, slot),
    }
    percent = candidate(workload)[1]
    if profile.knative and percent is not None:
        predictor["canaryTrafficPercent"] = percent
    predictor.update(_placement(profile, workload, service_name(profile, workload, slot)))
    if not profile.knative:
        predictor["terminationGracePeriodSeconds"] = _DRAIN_GRACE_S
        # Never fewer servers than before while a slot is updated in place.
        predictor["deploymentStrategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }
    predictor["model"] = {
        "modelFormat": {"name": MODEL_FORMAT, "version": "2"},
        "name": "",
        "runtime": runtime_name(profile, workload),
        "protocolVersion": _protocol(profile, workload),
        "storageUri": slot.storage_uri,
        "resources": _resources(profile, workload),
    }
    return predictor


def _protocol(profile: Profile, workload: Workload) -> str:
    grpc = profile.knative and workload.protocol is Protocol.GRPC
    return "grpc-v2" if grpc else "v2"


def _resources(profile: Profile, workload: Workload) -> Manifest:
    wanted = workload.resources
    amounts = {"cpu": wanted.cpu, "memory": wanted.memory}
    if wanted.gpus:
        product = profile.gpu(wanted.gpu_product) or profile.gpus[0]
        amounts[product.resource] = str(wanted.gpus)
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _placement(profile: Profile, workload: Workload, service: str) -> Manifest:
    placed: Manifest = {}
    product = profile.gpu(workload.resources.gpu_product)
    if product is not None:
        placed["nodeSelector"] = {product.node_label: product.name}
    if workload.resources.gpus and profile.feature("tolerations"):
        resource = (product or profile.gpus[0]).resource
        placed["tolerations"] = [
            {"key": resource, "operator": "Exists", "effect": "NoSchedule"},
        ]
    several = workload.scaling.most > 1
    if several and profile.feature("topologyspreadconstraints"):
        placed["topologySpreadConstraints"] = [
            _spread(service, "topology.kubernetes.io/zone"),
            _spread(service, "kubernetes.io/hostname"),
        ]
    return placed


def _spread(service: str, key: str) -> Mapping[str, object]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {SERVICE_LABEL: service}},
    }
