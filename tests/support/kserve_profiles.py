"""Profiles and workloads for tests of the KServe target."""

from __future__ import annotations

from dataclasses import replace

from conch.core import Arm, Ordinal, ServingSpec, SlotName, TrafficSplit, TritonName
from conch.kserve import (
    Autoscaler,
    DeploymentMode,
    Environment,
    Gateway,
    GpuProduct,
    KServeVersion,
    Monitoring,
    Networking,
    Payloads,
    Profile,
    Resources,
    Scaling,
    ServedModel,
    Slot,
    Storage,
    Traffic,
    TritonImage,
    Workload,
)

DIGEST = "sha256:" + "ab" * 32
KNATIVE = Profile(
    name="lab",
    environment=Environment.STAGING,
    version=KServeVersion.V0_19,
    mode=DeploymentMode.KNATIVE,
    networking=Networking.KNATIVE,
    autoscaler=Autoscaler.KPA,
)
STANDARD = Profile(
    name="main",
    environment=Environment.PROD,
    version=KServeVersion.V0_20,
    mode=DeploymentMode.STANDARD,
    networking=Networking.GATEWAY_API,
    autoscaler=Autoscaler.KEDA,
    image=TritonImage(reference=f"nvcr.io/nvidia/tritonserver:25.08-py3@{DIGEST}"),
    gpus=(GpuProduct(name="NVIDIA-L4"), GpuProduct(name="NVIDIA-H100-80GB-HBM3")),
    storage=Storage(
        schemes=frozenset({"s3", "oci"}),
        secret="model-store",
        identity={"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/models"},
    ),
    gateway=Gateway(name="public", namespace="gateways", domain="models.example.org"),
    monitoring=Monitoring(
        prometheus_url="http://prometheus.monitoring:9090", labels={"release": "prometheus"}
    ),
)

LOGGED = Payloads(url="http://conch.conch:8090", token="golden-golden-golden")
CANARY = replace(
    STANDARD, version=KServeVersion.V0_21, traffic=Traffic.CANARY, autoscaler=Autoscaler.HPA
)


def served(
    name: str = "digits", ordinal: int = 1, serving: ServingSpec | None = None
) -> ServedModel:
    """Return one version of a model."""
    return ServedModel(
        model=TritonName(name),
        ordinal=Ordinal(ordinal),
        build_id=f"{name}-build-{ordinal}",
        digest="cd" * 32,
        serving=serving or ServingSpec(),
    )


def slot(name: str = "a", *models: ServedModel, uri: str = "") -> Slot:
    """Return a slot; without models it holds version 1 of `digits`."""
    return Slot(
        slot=SlotName(name),
        models=models or (served(),),
        storage_uri=uri or f"s3://models/digits/{name}",
    )


def split(model: str, *arms: tuple[str, int, int]) -> TrafficSplit:
    """Return a split of `(slot, ordinal, weight)` arms, the candidate first."""
    return TrafficSplit(
        model=TritonName(model),
        arms=tuple(
            Arm(
                slot=SlotName(name),
                ordinal=Ordinal(ordinal),
                build_id=f"{model}-build-{ordinal}",
                weight=weight,
            )
            for name, ordinal, weight in arms
        ),
        salt="release-1",
    )


ONE = Workload(name="digits", namespace="models", slots=(slot(),))
TWO = Workload(
    name="digits",
    namespace="models",
    slots=(slot("a"), slot("b", served(ordinal=2))),
    splits=(split("digits", ("b", 2, 1000), ("a", 1, 9000)),),
    resources=Resources(cpu="4", memory="16Gi", gpus=1, gpu_product="NVIDIA-L4"),
    scaling=Scaling(least=2, most=6),
)
ON_CPU = replace(TWO, resources=Resources())
SITE_FILE = """\
name: lab
environment: dev
kserve: {version: "0.19", mode: standard}
network:
  kind: gateway-api
  gateway: {name: public, namespace: gateways, domain: models.example.org}
autoscaler: none
storage: {schemes: [pvc]}
serve:
  namespace: NAMESPACE
  uri: pvc://models/builds
  folder: builds
  gateway_url: http://127.0.0.1:9
  resources: {cpu: "2", memory: 4Gi}
"""
"""A profile's file for `conch deploy`; the test's own namespace goes where NAMESPACE stands."""
