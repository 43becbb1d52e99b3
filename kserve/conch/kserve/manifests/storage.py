"""The `conch://` scheme on a cluster: KServe learns it from a ClusterStorageContainer."""

from __future__ import annotations

from ..profiles import Profile
from .objects import Manifest, shared_metadata

_AMOUNTS = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def storage_container(profile: Profile) -> Manifest:
    """Return the container that fetches `conch://` builds and checks their digests.

    It is cluster-scoped and the same for every workload of a profile.
    """
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": shared_metadata(f"conch-{profile.name}"),
        "spec": {
            "container": {
                "name": "storage-initializer",
                "image": profile.storage.conch_image,
                "imagePullPolicy": "IfNotPresent",
                "resources": _AMOUNTS,
                "securityContext": {
                    "runAsNonRoot": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            },
            "supportedUriFormats": [{"prefix": "conch://"}],
        },
    }
