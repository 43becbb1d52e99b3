"""Profiles as files: YAML at the edge, checked by pydantic, typed values inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .documents import read_documents
from .errors import ProfileError
from .profiles import (
    DEFAULT_TRITON,
    Autoscaler,
    Environment,
    Gateway,
    GpuProduct,
    Monitoring,
    Networking,
    Payloads,
    Profile,
    Storage,
    Traffic,
    TritonImage,
)
from .refusals import refuse
from .sites import Builds, Site
from .versions import DeploymentMode, KServeVersion
from .workloads import Resources, Scaling

_Name = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]


def read_profile(text: str) -> Profile:
    """Return the profile that a YAML text states.

    Raises:
        UnusableYamlError: The text is not YAML.
        ProfileError: A key is unknown or missing, or a value is of another form.
        UnknownVersionError: The KServe version is not known.
        RefusedError: The values contradict one another; see `refusals`.
    """
    return _read(text).profile()


def read_site(text: str) -> Site:
    """Return the profile that a YAML text states, with what its `serve` says of every model there.

    Raises:
        UnusableYamlError: The text is not YAML.
        ProfileError: As in `read_profile`, or there is no `serve`.
        UnknownVersionError: The KServe version is not known.
        RefusedError: The values contradict one another; see `refusals`.
    """
    file = _read(text)
    profile = file.profile()
    if file.serve is None:
        raise ProfileError(
            f"The profile {profile.name!r} does not say what models there get.",
            hint="Add `serve: {namespace: ..., uri: ...}`; docs/how-to/serve-on-kserve.md.",
        )
    return file.serve.site(profile, file.builds)


def _read(text: str) -> _ProfileFile:
    documents = read_documents(text)
    if len(documents) != 1 or documents[0].repeated:
        raise ProfileError(
            f"A profile is one document without repeated keys; this text has {len(documents)}."
        )
    try:
        return _ProfileFile.model_validate(dict(documents[0].body))
    except ValidationError as error:
        raise ProfileError(
            f"The profile has {error.error_count()} fault(s): {_faults(error)}.",
            hint="docs/explanation/kserve.md shows a whole profile.",
        ) from error


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class _KServe(_Strict):
    version: str
    mode: DeploymentMode


class _Gpu(_Strict):
    name: str
    node_label: str = "nvidia.com/gpu.product"
    resource: str = "nvidia.com/gpu"


class _Gateway(_Strict):
    name: _Name
    namespace: _Name
    domain: str


class _Network(_Strict):
    kind: Networking
    gateway: _Gateway | None = None
    allow_namespaces: tuple[_Name, ...] = ()


class _Storage(_Strict):
    schemes: frozenset[str] = frozenset({"s3", "gs", "pvc"})
    secret: str = ""
    identity: dict[str, str] = {}
    conch_image: str = ""
    conch_url: str = ""
    conch_namespace: _Name | Literal[""] = "conch"
    conch_secret: _Name = "conch-fetch"
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (443,)


class _Monitoring(_Strict):
    prometheus_url: str
    namespace: _Name = "monitoring"
    labels: dict[str, str] = {}
    interval_s: Annotated[int, Field(ge=1, le=300)] = 15


class _Payloads(_Strict):
    url: str
    token: str
    answer_s: float = 10.0


class _Resources(_Strict):
    cpu: str = "1"
    memory: str = "2Gi"
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_product: str = ""
    shared_memory: str = "256Mi"


class _Replicas(_Strict):
    least: Annotated[int, Field(ge=0)] = 1
    most: Annotated[int, Field(ge=1)] = 1
    queue_target_us: int | None = None
    cpu_percent: int = 70


class _Builds(_Strict):
    image: Annotated[str, Field(min_length=1)]
    claim: _Name
    namespace: _Name
    claim_folder: str = "builds"
    resources: _Resources = _Resources(cpu="2", memory="8Gi")
    wait_s: Annotated[int, Field(ge=0, le=86_400)] = 1800
    account: str = ""


class _Serve(_Strict):
    namespace: _Name
    uri: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://")]
    folder: Path | None = None
    gateway_url: str = ""
    resources: _Resources = _Resources()
    replicas: _Replicas = _Replicas()

    def site(self, profile: Profile, builds: _Builds | None) -> Site:
        product = "" if builds is None else builds.resources.gpu_product
        if product and profile.gpu(product) is None:
            raise ProfileError(
                f"builds.resources.gpu_product is {product!r}, which is none of the profile's gpus."
            )
        return Site(
            profile=profile,
            namespace=self.namespace,
            uri=self.uri,
            folder=self.folder,
            gateway_url=self.gateway_url,
            resources=Resources(**self.resources.model_dump()),
            scaling=Scaling(**self.replicas.model_dump()),
            builds=None
            if builds is None
            else Builds(
                **builds.model_dump(exclude={"resources"}),
                resources=Resources(**builds.resources.model_dump()),
            ),
        )


class _ProfileFile(_Strict):
    name: _Name
    environment: Environment
    kserve: _KServe
    network: _Network
    autoscaler: Autoscaler
    triton_image: str = DEFAULT_TRITON
    gpus: tuple[_Gpu, ...] = ()
    storage: _Storage = _Storage()
    monitoring: _Monitoring | None = None
    knative_features: frozenset[str] = frozenset()
    startup_s: Annotated[int, Field(ge=10, le=7200)] = 600
    traffic: Traffic | None = None
    payloads: _Payloads | None = None
    serve: _Serve | None = None
    builds: _Builds | None = None

    def profile(self) -> Profile:
        gateway, monitoring = self.network.gateway, self.monitoring
        profile = Profile(
            name=self.name,
            environment=self.environment,
            version=KServeVersion.parse(self.kserve.version),
            mode=self.kserve.mode,
            networking=self.network.kind,
            autoscaler=self.autoscaler,
            image=TritonImage(reference=self.triton_image),
            gpus=tuple(GpuProduct(**gpu.model_dump()) for gpu in self.gpus),
            storage=Storage(**self.storage.model_dump()),
            gateway=Gateway(**gateway.model_dump()) if gateway else None,
            monitoring=Monitoring(**monitoring.model_dump()) if monitoring else None,
            ingress_namespaces=self.network.allow_namespaces,
            knative_features=self.knative_features,
            startup_s=self.startup_s,
            traffic=self.traffic,
            payloads=Payloads(**self.payloads.model_dump()) if self.payloads else None,
        )
        refuse(profile)
        return profile


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {_lower(fault['msg'])}"
        for fault in error.errors()
    )


def _lower(message: Any) -> str:
    text = str(message)
    return text[:1].lower() + text[1:]
