"""The InferenceService of a slot.

Only `predictor.model` is emitted: the older fields are rewritten by KServe's webhook, and every
comparison with the cluster would show drift.
"""

from __future__ import annotations

from collections.abc import Mapping

from conch.core import TOTAL_WEIGHT

from ..profiles import Networking, Profile, Traffic
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
_TAGS = "serving.kserve.io/enable-tag-routing"
_CLUSTER_LOCAL = {"networking.kserve.io/visibility": "cluster-local"}


def inference_service(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return the InferenceService that serves a slot, or all of them.

    KServe copies an InferenceService's own labels and annotations to every pod, and new pods come
    of any change. Where it holds several slots, nothing there may name one of them: promotion would
    restart both. The predictors carry what belongs to a slot.
    """
    annotations = {
        MODE_ANNOTATION: profile.mode.annotation(profile.version),
        **({} if profile.one_service else {f"{PREFIX}/builds": builds_of(slot)}),
        **scaling_annotations(profile),
    }
    if profile.knative:
        annotations[_TAGS] = "true"  # each revision has an address, so that it can be asked alone
    labels = dict(_CLUSTER_LOCAL) if _routed_by_conch(profile) else {}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(
            profile,
            workload,
            service_name(profile, workload, slot),
            slot=None if profile.one_service else slot,
            # Only conch's own route is public where there are slots to divide between.
            labels=labels,
            annotations=annotations,
        ),
        "spec": _spec(profile, workload, slot),
    }


def _spec(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    spec: Manifest = {"predictor": _predictor(profile, workload, slot)}
    if profile.strategy is Traffic.CANARY:
        spec["predictor"] = {"name": slot.slot, **spec["predictor"]}
        others = [each for each in workload.slots if each.slot != slot.slot]
        if others:
            spec["canary"] = [_canary(profile, workload, each) for each in others]
    return spec


def _canary(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return an entry of `spec.canary`; what it leaves out is taken from `spec.predictor`.

    KServe gives a canary a fixed number of servers and refuses scaling fields in it.
    """
    percent = (workload.weight(slot) or 0) * 100 // TOTAL_WEIGHT
    return {
        "trafficPercent": percent,
        "predictor": {
            "name": slot.slot,
            "annotations": {f"{PREFIX}/builds": builds_of(slot)},
            "labels": _pod_labels(workload, slot),
            "minReplicas": workload.scaling.least,
            **_logger(profile),
            "model": _model(profile, workload, slot),
        },
    }


def _logger(profile: Profile) -> Manifest:
    """Return the payload logger: KServe's agent before the server, which tells conch."""
    if profile.payloads is None:
        return {}
    return {"logger": {"mode": "all", "url": profile.payloads.sink}}


def _routed_by_conch(profile: Profile) -> bool:
    return profile.networking is Networking.GATEWAY_API and not profile.one_service


def _predictor(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    predictor: Manifest = {
        "serviceAccountName": workload.name,
        "automountServiceAccountToken": False,
        "annotations": {f"{PREFIX}/builds": builds_of(slot)},
        "labels": _pod_labels(workload, slot),
        **scaling_fields(profile, workload, slot),
    }
    percent = candidate(workload)[1]
    if profile.strategy is Traffic.PERCENT and percent is not None:
        predictor["canaryTrafficPercent"] = percent
    predictor.update(_placement(profile, workload, service_name(profile, workload, slot)))
    if not profile.knative:
        predictor["terminationGracePeriodSeconds"] = _DRAIN_GRACE_S
        # Never fewer servers than before while a slot is updated in place.
        predictor["deploymentStrategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }
    predictor.update(_logger(profile))
    predictor["model"] = _model(profile, workload, slot)
    return predictor


def _pod_labels(workload: Workload, slot: Slot) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": workload.name, f"{PREFIX}/slot": slot.slot}


def _model(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    return {
        "modelFormat": {"name": MODEL_FORMAT, "version": "2"},
        "name": "",
        "runtime": runtime_name(profile, workload),
        "protocolVersion": _protocol(profile, workload),
        "storageUri": slot.storage_uri,
        "resources": _resources(profile, workload),
    }


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
