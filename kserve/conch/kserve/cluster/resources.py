"""The kinds of objects that conch works with, and where the API serves them.

They are stated and not discovered: discovery costs requests, needs rights of its own, and a wrong
answer from it would send an object to another place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import KServeError

Object = dict[str, Any]
"""One Kubernetes object as JSON values."""


class UnknownKindError(KServeError):
    """An object is of a kind that conch does not put on a cluster."""

    code = "cluster-kind-unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object.

    Attributes:
        group: The API group; empty for the core.
        version: The API version.
        plural: The name in paths.
        kind: The name in objects.
        namespaced: Whether objects live in a namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What objects have as `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of an object, of a namespace's objects, or of all of them.

        >>> INFERENCE_SERVICE.path("models", "digits", "status")
        '/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/digits/status'
        >>> NAMESPACE.path(name="models")
        '/api/v1/namespaces/models'
        """
        parts = ["", "apis", self.group, self.version] if self.group else ["", "api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


def _kserve(version: str, plural: str, kind: str, *, namespaced: bool = True) -> Resource:
    return Resource(
        group="serving.kserve.io",
        version=version,
        plural=plural,
        kind=kind,
        namespaced=namespaced,
    )


INFERENCE_SERVICE: Final = _kserve("v1beta1", "inferenceservices", "InferenceService")
SERVING_RUNTIME: Final = _kserve("v1alpha1", "servingruntimes", "ServingRuntime")
STORAGE_CONTAINER: Final = _kserve(
    "v1alpha1", "clusterstoragecontainers", "ClusterStorageContainer", namespaced=False
)
HTTP_ROUTE: Final = Resource(
    group="gateway.networking.k8s.io", version="v1", plural="httproutes", kind="HTTPRoute"
)
SCALED_OBJECT: Final = Resource(
    group="keda.sh", version="v1alpha1", plural="scaledobjects", kind="ScaledObject"
)
SERVICE_MONITOR, POD_MONITOR, PROMETHEUS_RULE = (
    Resource(group="monitoring.coreos.com", version="v1", plural=f"{kind.lower()}s", kind=kind)
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")
)
DISRUPTION_BUDGET: Final = Resource(
    group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget"
)
NETWORK_POLICY: Final = Resource(
    group="networking.k8s.io", version="v1", plural="networkpolicies", kind="NetworkPolicy"
)
SERVICE_ACCOUNT: Final = Resource(
    group="", version="v1", plural="serviceaccounts", kind="ServiceAccount"
)
SECRET: Final = Resource(group="", version="v1", plural="secrets", kind="Secret")
CONFIG_MAP: Final = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
NAMESPACE: Final = Resource(
    group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False
)
DEPLOYMENT: Final = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
"""Read only: KServe makes one for each predictor in Standard mode."""
JOB: Final = Resource(group="batch", version="v1", plural="jobs", kind="Job")
POD: Final = Resource(group="", version="v1", plural="pods", kind="Pod")
"""Read only: a Job's."""
CLAIM: Final = Resource(
    group="", version="v1", plural="persistentvolumeclaims", kind="PersistentVolumeClaim"
)
"""Read only: what a Job shares with whoever asked for it."""
LEASE: Final = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")

OWNED: Final = (
    SERVICE_ACCOUNT,
    NETWORK_POLICY,
    SERVING_RUNTIME,
    STORAGE_CONTAINER,
    CONFIG_MAP,
    INFERENCE_SERVICE,
    DISRUPTION_BUDGET,
    SCALED_OBJECT,
    SERVICE_MONITOR,
    POD_MONITOR,
    PROMETHEUS_RULE,
    HTTP_ROUTE,
)
"""Kinds that conch creates, in the order in which they are applied: what others need first."""

_KNOWN: Final = {
    (each.api_version, each.kind): each
    for each in (*OWNED, SECRET, NAMESPACE, DEPLOYMENT, LEASE, JOB, POD, CLAIM)
}


def resource_of(body: Mapping[str, Any]) -> Resource:
    """Return the kind that an object says it is.

    Raises:
        UnknownKindError: It is none of those that conch works with.
    """
    named = str(body.get("apiVersion", "")), str(body.get("kind", ""))
    found = _KNOWN.get(named)
    if found is None:
        raise UnknownKindError(f"conch does not work with {named[1]!r} of {named[0]!r}.")
    return found


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """Which object: its kind and name.

    Attributes:
        api_version: As in the object.
        kind: As in the object.
        namespace: Empty for cluster-scoped kinds.
        name: As in the object.
    """

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Key:
        """Return the key of an object."""
        meta = body["metadata"]
        return cls(
            api_version=body["apiVersion"],
            kind=body["kind"],
            namespace=meta.get("namespace", ""),
            name=meta["name"],
        )

    @property
    def resource(self) -> Resource:
        """The kind."""
        return resource_of({"apiVersion": self.api_version, "kind": self.kind})

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"
