"""The `conch://` scheme on a cluster: KServe learns it from a ClusterStorageContainer."""

from __future__ import annotations

from typing import Final

from ..fetching import KEY_VARIABLE, URL_VARIABLE
from ..profiles import Profile
from .objects import Manifest, shared_metadata

SECRET_KEY: Final = "key"
"""Under which the Secret named by the profile holds the fetch key."""

_AMOUNTS = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def storage_container(profile: Profile) -> Manifest:
    """Return the container that fetches `conch://` builds and checks their digests.

    It is cluster-scoped and the same for every workload of a profile. KServe adds the arguments
    (the address and the folder). The key is read from a Secret in the pod's own namespace.
    """
    storage = profile.storage
    secret = {"name": storage.conch_secret, "key": SECRET_KEY}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": shared_metadata(f"conch-{profile.name}"),
        "spec": {
            "container": {
                "name": "storage-initializer",
                "image": storage.conch_image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python", "-m", "conch.kserve.fetching"],
                "env": [
                    {"name": URL_VARIABLE, "value": storage.conch_url},
                    {"name": KEY_VARIABLE, "valueFrom": {"secretKeyRef": secret}},
                ],
                "terminationMessagePolicy": "FallbackToLogsOnError",
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
