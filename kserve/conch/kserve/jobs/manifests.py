"""The `batch/v1` Job of a `ClusterJob`."""

from __future__ import annotations

from typing import Final

from ..applying.ownership import OWNER, OWNER_LABEL
from ..cluster.resources import JOB
from ..manifests.objects import PREFIX, Manifest
from .values import ClusterJob

CONTAINER: Final = "work"
JOB_LABEL: Final = f"{PREFIX}/job"
"""On the Job and its pod: the Job's name."""
_USER: Final = 1000


def job_manifest(job: ClusterJob) -> Manifest:
    """Return the Job: one pod, tried once, as nobody in particular, without a token."""
    labels = {OWNER_LABEL: OWNER, JOB_LABEL: job.name}
    metadata: Manifest = {"name": job.name, "namespace": job.namespace, "labels": labels}
    if job.owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": job.owner.api_version,
                "kind": job.owner.kind,
                "name": job.owner.name,
                "uid": job.owner.uid,
            }
        ]
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": job.deadline_s,
            "ttlSecondsAfterFinished": job.keep_s,
            "template": {"metadata": {"labels": dict(labels)}, "spec": _pod(job)},
        },
    }


def _pod(job: ClusterJob) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
        },
        "containers": [_container(job)],
        "volumes": [
            *(
                {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": each.claim}}
                for number, each in enumerate(job.volumes)
            ),
            {"name": "tmp", "emptyDir": {}},
            {
                "name": "shm",
                "emptyDir": {"medium": "Memory", "sizeLimit": job.resources.shared_memory},
            },
        ],
    }
    if job.account:
        pod["serviceAccountName"] = job.account
    if job.node_labels:
        pod["nodeSelector"] = dict(sorted(job.node_labels.items()))
    if job.resources.gpus:
        pod["tolerations"] = [
            {"key": job.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
        ]
    return pod


def _container(job: ClusterJob) -> Manifest:
    return {
        "name": CONTAINER,
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(job.command),
        "env": [{"name": name, "value": value} for name, value in sorted(job.env.items())],
        "resources": {"requests": job.amounts, "limits": job.amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *(
                {
                    "name": f"claim-{number}",
                    "mountPath": each.path,
                    **({"subPath": each.folder} if each.folder else {}),
                }
                for number, each in enumerate(job.volumes)
            ),
            {"name": "tmp", "mountPath": "/tmp"},  # in the container
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
