"""Asking a cluster what it is, for the profile that states it.

Everything is a hint with its source: what cannot be seen, for lack of a right or of the object, is
named as unknown with the reason, and stated by people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from .cluster.client import KubernetesCluster
from .cluster.failures import ClusterError
from .cluster.resources import CONFIG_MAP, DEPLOYMENT, OWNED, Key, Object
from .errors import UnknownVersionError
from .versions import KServeVersion

_NAMESPACE: Final = "kserve"
_IMAGE = re.compile(r":v?(\d+\.\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a cluster shows of itself.

    Attributes:
        name: What, as a profile calls it.
        value: What it is; empty where it cannot be seen.
        source: Where it was seen, or why it could not be.
    """

    name: str
    value: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form."""
        return asdict(self)


async def probe(cluster: KubernetesCluster, *, namespace: str = _NAMESPACE) -> tuple[Finding, ...]:
    """Return what a cluster shows of itself.

    Args:
        cluster: Whom to ask.
        namespace: Where KServe's controller runs.

    Raises:
        ClusterError: The API server does not answer at all.
    """
    version = await cluster.get_path("/version")
    found = [
        Finding(name="kubernetes", value=str(version.get("gitVersion", "")), source="/version")
    ]
    groups = await _groups(cluster)
    found += [
        Finding(name=name, value="yes" if group in groups else "no", source=f"API group {group}")
        for name, group in _GROUPS.items()
    ]
    found.append(await _version(cluster, namespace))
    found += await _configuration(cluster, namespace)
    return tuple(found)


async def missing_kinds(cluster: KubernetesCluster, namespace: str) -> tuple[Finding, ...]:
    """Return, for every kind that conch writes, whether it can be listed in a namespace."""
    found = []
    for resource in OWNED:
        name = f"{resource.kind} ({resource.api_version})"
        try:
            await cluster.list(resource, namespace if resource.namespaced else "")
        except ClusterError as error:
            found.append(Finding(name=name, value="", source=error.message))
        else:
            found.append(Finding(name=name, value="yes", source="listed"))
    return tuple(found)


_GROUPS: Final[Mapping[str, str]] = {
    "kserve": "serving.kserve.io",
    "knative": "serving.knative.dev",
    "gateway-api": "gateway.networking.k8s.io",
    "keda": "keda.sh",
    "prometheus-operator": "monitoring.coreos.com",
}


async def _groups(cluster: KubernetesCluster) -> set[str]:
    listed = await cluster.get_path("/apis")
    return {group["name"] for group in listed.get("groups", ())}


async def _version(cluster: KubernetesCluster, namespace: str) -> Finding:
    body = await _get(cluster, DEPLOYMENT, namespace, "kserve-controller-manager")
    if isinstance(body, str):
        return Finding(name="kserve.version", value="", source=body)
    images = [c["image"] for c in body["spec"]["template"]["spec"]["containers"]]
    for image in images:
        match = _IMAGE.search(image)
        if match:
            try:
                version = KServeVersion.parse(match[1])
            except UnknownVersionError as error:
                return Finding(name="kserve.version", value=match[1], source=error.message)
            return Finding(name="kserve.version", value=version.value, source=f"image {image}")
    return Finding(name="kserve.version", value="", source=f"no version in {', '.join(images)}")


async def _configuration(cluster: KubernetesCluster, namespace: str) -> list[Finding]:
    body = await _get(cluster, CONFIG_MAP, namespace, "inferenceservice-config")
    if isinstance(body, str):
        return [Finding(name="kserve.mode", value="", source=body)]
    source = "ConfigMap inferenceservice-config"
    deploy = _json(body, "deploy").get("defaultDeploymentMode", "")
    ingress = _json(body, "ingress")
    modes = {"Serverless": "knative", "Knative": "knative"}
    modes |= {"RawDeployment": "standard", "Standard": "standard"}
    gateway = "gateway-api" if ingress.get("enableGatewayApi") else "ingress"
    return [
        Finding(name="kserve.mode", value=modes.get(deploy, ""), source=f"{source}: {deploy!r}"),
        Finding(name="network.kind", value=gateway, source=f"{source}, for Standard mode"),
        Finding(
            name="network.gateway",
            value=str(ingress.get("kserveIngressGateway", "")),
            source=source,
        ),
        Finding(name="network.domain", value=str(ingress.get("ingressDomain", "")), source=source),
    ]


async def _get(
    cluster: KubernetesCluster, resource: Any, namespace: str, name: str
) -> Object | str:
    key = Key(api_version=resource.api_version, kind=resource.kind, namespace=namespace, name=name)
    try:
        return await cluster.get(key)
    except ClusterError as error:
        return error.message


def _json(body: Object, name: str) -> dict[str, Any]:
    try:
        value = json.loads(body.get("data", {}).get(name, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
