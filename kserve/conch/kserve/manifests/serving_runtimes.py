"""The ServingRuntime: the pinned Triton image with the flags and probes that conch relies on.

KServe's built-in runtime runs Triton 23.05 in every release from 0.15 to 0.20, so that conch brings
its own. A runtime is shared by all services that name it, and editing it would restart them all at
once; its name therefore carries a digest of its content, and a change is a new runtime.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from ..profiles import Profile
from ..workloads import Protocol, Workload
from .objects import GRPC_PORT, HTTP_PORT, METRICS_PORT, Manifest, shared_metadata

MODEL_FORMAT: Final = "triton"
_DRAIN_S: Final = 5
_PROBE_PERIOD_S: Final = 2
_FLAGS: Final = (
    "--model-repository=/mnt/models",
    "--model-control-mode=none",
    "--disable-auto-complete-config",  # configurations are complete; guessing costs 1.2 s a model
    "--strict-readiness=true",  # ready means: every model is loaded and warmed
    "--exit-on-error=true",
    f"--http-port={HTTP_PORT}",
    f"--grpc-port={GRPC_PORT}",
    "--allow-metrics=true",
    f"--metrics-port={METRICS_PORT}",
    "--exit-timeout-secs=30",
)


def serving_runtime(profile: Profile, workload: Workload) -> Manifest:
    """Return the runtime of a workload's servers."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": shared_metadata(
            runtime_name(profile, workload),
            namespace=workload.namespace,
            annotations={"serving.kserve.io/server-type": "tritonserver"},
        ),
        "spec": _spec(profile, workload),
    }


def runtime_name(profile: Profile, workload: Workload) -> str:
    """Return the runtime's name, which changes with its content."""
    text = json.dumps(_spec(profile, workload), sort_keys=True)
    return f"conch-triton-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _spec(profile: Profile, workload: Workload) -> Manifest:
    return {
        "annotations": {
            "prometheus.kserve.io/path": "/metrics",
            "prometheus.kserve.io/port": str(METRICS_PORT),
        },
        "supportedModelFormats": [{"name": MODEL_FORMAT, "version": "2", "autoSelect": False}],
        "protocolVersions": ["v2", "grpc-v2"],
        "containers": [_container(profile, workload)],
        "volumes": [
            {
                "name": "shared-memory",
                "emptyDir": {"medium": "Memory", "sizeLimit": workload.resources.shared_memory},
            }
        ],
    }


def _container(profile: Profile, workload: Workload) -> Manifest:
    container: Manifest = {
        "name": "kserve-container",
        "image": profile.image.reference,
        "args": ["tritonserver", *_FLAGS],
        "ports": _ports(profile, workload),
        "readinessProbe": {**_probe("/v2/health/ready"), "failureThreshold": 3},
        "securityContext": {
            "runAsUser": 1000,
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
    }
    if not profile.knative:
        # Triton opens its ports after the models are loaded, so that liveness alone would kill a
        # slow load; it is safe only behind a startup probe, which Knative may refuse.
        container["startupProbe"] = {
            **_probe("/v2/health/ready"),
            "failureThreshold": -(-profile.startup_s // _PROBE_PERIOD_S),
        }
        container["livenessProbe"] = {
            **_probe("/v2/health/live"),
            "periodSeconds": 10,
            "failureThreshold": 3,
        }
        # Endpoints are withdrawn while the pod is told to stop; requests on their way still come.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(_DRAIN_S)]}}}
    return container


def _probe(path: str) -> Manifest:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": _PROBE_PERIOD_S,
        "timeoutSeconds": 2,
        "successThreshold": 1,
    }


def _ports(profile: Profile, workload: Workload) -> list[Manifest]:
    """Return the container's ports: one in Knative mode, whose name selects HTTP/2."""
    http = {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"}
    grpc = {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"}
    if profile.knative:
        return [http if workload.protocol is Protocol.HTTP else grpc]
    return [http, grpc, {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}]
