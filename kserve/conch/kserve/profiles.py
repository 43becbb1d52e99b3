"""What a cluster is and offers, as stated by the people who run it.

Nothing here is detected: a manifest is for a stated KServe version, mode and network, so that it
can be made, reviewed and linted without the cluster. What a stated combination cannot do is
refused with the reason and the nearest thing that works (see `refusals`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from .errors import ProfileError
from .versions import DeploymentMode, KServeVersion

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":([A-Za-z0-9_][A-Za-z0-9_.-]*)$")
_RELEASE = re.compile(r"(\d{2}\.\d{2})(?:-|$)")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
DEFAULT_TRITON: Final = "nvcr.io/nvidia/tritonserver:25.08-py3"


class Networking(StrEnum):
    """What carries requests into the cluster."""

    KNATIVE = "knative"
    GATEWAY_API = "gateway-api"
    INGRESS = "ingress"


class Autoscaler(StrEnum):
    """What sets the number of replicas."""

    KPA = "kpa"
    HPA = "hpa"
    KEDA = "keda"
    NONE = "none"


class Traffic(StrEnum):
    """How a model's traffic is divided between slots.

    `PERCENT` is Knative's `canaryTrafficPercent` over the revisions of one InferenceService;
    `CANARY` is `spec.canary` of one InferenceService (Standard mode, KServe 0.21 and later);
    `SLOTS` is an InferenceService per slot and an HTTPRoute whose weights conch owns.
    """

    PERCENT = "percent"
    CANARY = "canary"
    SLOTS = "slots"


class Environment(StrEnum):
    """What the cluster is for; `prod` demands more of a profile and of a workload."""

    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonImage:
    """The Triton image that serves, pinned.

    Attributes:
        reference: `repository:tag`, `repository@sha256:...`, or both in one.
    """

    reference: str = DEFAULT_TRITON

    def __post_init__(self) -> None:
        if not self.by_digest and self.tag in ("", "latest"):
            raise ProfileError(
                f"The Triton image {self.reference!r} is not pinned.",
                hint=f"Name a tag or a digest, such as {DEFAULT_TRITON}.",
            )

    @property
    def by_digest(self) -> bool:
        """Whether the reference names bytes and not a movable tag."""
        return bool(_DIGEST.search(self.reference))

    @property
    def tag(self) -> str:
        """The tag, or "" where there is none."""
        match = _TAG.search(_DIGEST.sub("", self.reference))
        return match[1] if match else ""

    @property
    def release(self) -> str:
        """Triton's release such as `25.08`, or "" where the tag does not say it."""
        match = _RELEASE.match(self.tag)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProduct:
    """One type of GPU that the cluster has.

    Attributes:
        name: The value of the node label, such as `NVIDIA-L4`.
        node_label: The label that nodes carry it under.
        resource: The resource that a container asks for.
    """

    name: str
    node_label: str = "nvidia.com/gpu.product"
    resource: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The Gateway (Gateway API) that routes attach to.

    Attributes:
        name: Its name.
        namespace: Its namespace; its pods are let in by the network policy.
        domain: Routes are named `WORKLOAD.DOMAIN`.
    """

    name: str
    namespace: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where models are read from.

    Attributes:
        schemes: Schemes of storage URIs that the cluster is set up for.
        secret: Secret with S3 keys that the service account lists; empty for none.
        identity: Annotations of the service account for the cloud's workload identity.
        conch_image: Image of the container that fetches `conch://`; empty where it is not used.
        conch_url: The control plane as pods reach it, such as `http://conch.conch:8090`.
        conch_namespace: The control plane's namespace, the only one that the network policy opens
            for it; empty where it is not on the cluster: then its port is open to any address.
        conch_secret: Secret in the namespace of the models that has the fetch key under `key`.
        ports: TCP ports of the stores, which the network policy opens outwards; () for none.
    """

    schemes: frozenset[str] = frozenset({"s3", "gs", "pvc"})
    secret: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    conch_image: str = ""
    conch_url: str = ""
    conch_namespace: str = "conch"
    conch_secret: str = "conch-fetch"
    ports: tuple[int, ...] = (443,)

    def __post_init__(self) -> None:
        if self.conch_url and self.conch_port is None:
            raise ProfileError(
                f"storage.conch_url is {self.conch_url!r}, which is no http address with a host.",
                hint="Such as http://conch.conch:8090.",
            )

    @property
    def conch_port(self) -> int | None:
        """The TCP port in `conch_url`; None where that is empty or no address."""
        try:
            parts = urlsplit(self.conch_url)
            known = {"http": 80, "https": 443}.get(parts.scheme)
            return (parts.port or known) if known and parts.hostname else None
        except ValueError:  # a port that is none
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """The Prometheus of the cluster (Prometheus Operator).

    Attributes:
        prometheus_url: Its address as seen from KEDA.
        namespace: Its namespace; its pods are let in by the network policy.
        labels: Labels that make it select monitors and rules.
        interval_s: How often it scrapes, in seconds.
    """

    prometheus_url: str
    namespace: str = "monitoring"
    labels: Mapping[str, str] = field(default_factory=dict)
    interval_s: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """Where KServe's payload logger sends what a server was asked and answered: conch counts it.

    Attributes:
        url: The control plane as pods reach it, such as `http://conch.conch:8090`.
        token: Part of the address that they send to, since the logger shows no key. It lets a
            holder forge counts and nothing else; whoever may read InferenceServices reads it.
        answer_s: Longest time that an answer takes; a request without one by then has failed.
    """

    url: str
    token: str
    answer_s: float = 10.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ProfileError(
                f"payloads.url is {self.url!r}, which is no address of a control plane.",
                hint="Write http://conch.conch:8090, for instance.",
            )
        if not _TOKEN.fullmatch(self.token):
            raise ProfileError(
                "payloads.token is not 16 to 128 letters, digits, `-` or `_`.",
                hint="python3 -c 'import secrets; print(secrets.token_urlsafe(24))' makes one.",
            )
        if not 0.1 <= self.answer_s <= 600:
            raise ProfileError(f"payloads.answer_s is {self.answer_s}; it must lie in 0.1..600.")

    @property
    def sink(self) -> str:
        """The address that the logger sends to."""
        return f"{self.url.rstrip('/')}/v1/payloads/{self.token}"

    @property
    def port(self) -> int:
        """The TCP port of the control plane."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cluster, as far as manifests depend on it.

    Attributes:
        name: For people; part of labels.
        environment: What it is for.
        version: KServe's version.
        mode: How KServe runs services there.
        networking: What carries requests in.
        autoscaler: What sets the number of replicas.
        image: The Triton image.
        gpus: The types of GPU there.
        storage: Where models come from.
        gateway: The gateway, with `networking` gateway-api.
        monitoring: The Prometheus there; None where there is none to be told.
        ingress_namespaces: Further namespaces whose pods may call the servers.
        knative_features: Names of Knative's pod feature flags that are on, such as
            `nodeselector`.
        startup_s: How long a server may take to load and warm its models, in seconds.
        traffic: How traffic is divided; None: `percent` in Knative mode, else `slots`.
        payloads: Who counts what servers are asked and answer; None: nobody, so that no plan goes
            on there.
    """

    name: str
    environment: Environment
    version: KServeVersion
    mode: DeploymentMode
    networking: Networking
    autoscaler: Autoscaler
    image: TritonImage = field(default_factory=TritonImage)
    gpus: tuple[GpuProduct, ...] = ()
    storage: Storage = field(default_factory=Storage)
    gateway: Gateway | None = None
    monitoring: Monitoring | None = None
    ingress_namespaces: tuple[str, ...] = ()
    knative_features: frozenset[str] = frozenset()
    startup_s: int = 600
    traffic: Traffic | None = None
    payloads: Payloads | None = None

    def __post_init__(self) -> None:
        if not 10 <= self.startup_s <= 7200:
            raise ProfileError(f"startup_s is {self.startup_s}; it must lie in 10..7200.")

    @property
    def knative(self) -> bool:
        """Whether services run in Knative mode."""
        return self.mode is DeploymentMode.KNATIVE

    @property
    def strategy(self) -> Traffic:
        """How traffic is divided."""
        return self.traffic or (Traffic.PERCENT if self.knative else Traffic.SLOTS)

    @property
    def one_service(self) -> bool:
        """Whether one InferenceService holds all slots."""
        return self.strategy is not Traffic.SLOTS

    def gpu(self, name: str) -> GpuProduct | None:
        """Return a type of GPU by name; None where the cluster has none."""
        return next((gpu for gpu in self.gpus if gpu.name == name), None)

    def feature(self, name: str) -> bool:
        """Tell whether a pod field is taken: in Standard mode always, else by its flag."""
        return not self.knative or name in self.knative_features
