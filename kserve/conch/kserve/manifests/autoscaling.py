"""Autoscaling: Knative's own, an HPA made by KServe, or KEDA on Triton's time in queue.

The queue metric of a server with several models is the mean over *requests*,

    sum(rate(queue time)) / sum(rate(requests)),

and not the mean of the models' means: an idle model would pull that towards zero, so that two
models of which one is idle show half the queue and never scale (triton-inference-server/server
issue 8979). KEDA must compare it as a value, not as a value per replica, since a mean does not
shrink when the replicas grow; KServe cannot say so in an InferenceService, therefore the
ScaledObject is conch's own and KServe's class is `external`.
"""

from __future__ import annotations

from typing import Final

from ..profiles import Autoscaler, Profile
from ..workloads import Slot, Workload
from .objects import Manifest, metadata, predictor_name, service_name

CLASS_ANNOTATION: Final = "serving.kserve.io/autoscalerClass"
_WINDOW: Final = "2m"
_LEAST_RATE: Final = "0.001"
_FEWEST_US: Final = 5000
_DELAYS: Final = 4
_CLASSES: Final = {
    Autoscaler.HPA: "hpa",
    Autoscaler.KEDA: "external",
    Autoscaler.NONE: "none",
}


def scaling_annotations(profile: Profile) -> dict[str, str]:
    """Return the annotation that names KServe's autoscaler class; none in Knative mode."""
    return {} if profile.knative else {CLASS_ANNOTATION: _CLASSES[profile.autoscaler]}


def scaling_fields(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return the predictor's scaling fields."""
    scaling = workload.scaling
    fields: Manifest = {"minReplicas": scaling.least, "maxReplicas": scaling.most}
    if profile.knative:
        fields |= {"scaleMetric": "concurrency", "scaleTarget": concurrency(slot)}
    elif profile.autoscaler is Autoscaler.HPA and scaling.most > scaling.least:
        fields |= {"scaleMetric": "cpu", "scaleTarget": scaling.cpu_percent}
    return fields


def concurrency(slot: Slot) -> int:
    """Return how many requests a server should have at once: what fills its largest batches.

    Fewer would keep the batcher from ever forming the batches that it is configured for.
    """
    return max(max(1, each.serving.max_batch_size) * each.serving.instances for each in slot.models)


def queue_target_us(workload: Workload, slot: Slot) -> int:
    """Return the mean time in queue to keep, in us.

    The batcher itself holds requests for up to `queue_delay_us`; a target near that would scale
    idle servers. Without a stated target it is four such delays, and at least 5 ms.
    """
    stated = workload.scaling.queue_target_us
    longest = max(each.serving.queue_delay_us for each in slot.models)
    return stated if stated is not None else max(_FEWEST_US, _DELAYS * longest)


def queue_query(workload: Workload, service: str) -> str:
    """Return the PromQL of a slot's mean time in queue per request, in us; 0 where it is idle."""
    chosen = selector(workload, service)
    waited = f"sum(rate(nv_inference_queue_duration_us{chosen}[{_WINDOW}]))"
    served = f"sum(rate(nv_inference_request_success{chosen}[{_WINDOW}]))"
    return f"{waited} / clamp_min({served}, {_LEAST_RATE})"


def selector(workload: Workload, service: str) -> str:
    """Return the PromQL label selector of the servers of one InferenceService."""
    return f'{{namespace="{workload.namespace}",serving_kserve_io_inferenceservice="{service}"}}'


def scaled_object(profile: Profile, workload: Workload, slot: Slot) -> Manifest:
    """Return KEDA's ScaledObject of a slot; `profile` must have KEDA and a Prometheus."""
    assert profile.monitoring is not None
    service = service_name(profile, workload, slot)
    scaling = workload.scaling
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(profile, workload, service, slot=slot),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": predictor_name(service),
            },
            "minReplicaCount": scaling.least,
            "maxReplicaCount": scaling.most,
            "pollingInterval": profile.monitoring.interval_s,
            "triggers": [
                {
                    "type": "prometheus",
                    "name": "queue-time",
                    "metricType": "Value",
                    "metadata": {
                        "serverAddress": profile.monitoring.prometheus_url,
                        "query": queue_query(workload, service),
                        "threshold": str(queue_target_us(workload, slot)),
                        # No answer is an error, on which an HPA keeps the number that it has.
                        "ignoreNullValues": "false",
                    },
                }
            ],
        },
    }
