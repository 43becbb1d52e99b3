"""Profiles as files, and what a profile refuses with a reason and the nearest thing that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kserve_profiles import CANARY, DIGEST, KNATIVE, ON_CPU, ONE, STANDARD, TWO, served, slot, split

from conch.core import BuildRef, Ordinal, ServingSpec, Signature, TritonName
from conch.kserve import (
    Autoscaler,
    Environment,
    KServeVersion,
    Networking,
    Payloads,
    Profile,
    ProfileError,
    QuantityError,
    RefusedError,
    Resources,
    Scaling,
    ServedModel,
    Storage,
    Traffic,
    TritonImage,
    UnknownVersionError,
    UnusableYamlError,
    Workload,
    WorkloadError,
    read_profile,
    read_site,
    refusals,
    refuse,
)
from conch.kserve.quantities import quantity

FILE = f"""
name: main
environment: prod
kserve: {{version: v0.20.0, mode: standard}}
network:
  kind: gateway-api
  gateway: {{name: public, namespace: gateways, domain: models.example.org}}
autoscaler: keda
triton_image: nvcr.io/nvidia/tritonserver:25.08-py3@{DIGEST}
gpus:
  - name: NVIDIA-L4
  - name: NVIDIA-H100-80GB-HBM3
storage:
  schemes: [s3, oci]
  secret: model-store
  identity: {{eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/models"}}
monitoring:
  prometheus_url: http://prometheus.monitoring:9090
  labels: {{release: prometheus}}
"""

PAYLOADS = (
    FILE
    + """
payloads: {url: "http://conch.conch:8090/", token: 0123456789abcdef-_, answer_s: 30}
"""
)

OF_PROFILE: dict[str, Profile] = {
    "networking-mode": replace(KNATIVE, networking=Networking.INGRESS),
    "gateway-unnamed": replace(STANDARD, gateway=None),
    "autoscaler-mode": replace(KNATIVE, autoscaler=Autoscaler.HPA),
    "keda-prometheus": replace(STANDARD, monitoring=None),
    "prod-image": replace(STANDARD, image=TritonImage()),
    "conch-image": replace(
        KNATIVE, storage=Storage(schemes=frozenset({"conch"}), conch_url="http://conch:8090")
    ),
    "conch-url": replace(
        KNATIVE, storage=Storage(schemes=frozenset({"conch"}), conch_image="conch:1")
    ),
    "oci-version": replace(KNATIVE, storage=Storage(schemes=frozenset({"oci+native"}))),
    "traffic-mode": replace(KNATIVE, traffic=Traffic.SLOTS),
    "traffic-canary-version": replace(CANARY, version=KServeVersion.V0_20),
    "traffic-canary-network": replace(CANARY, networking=Networking.INGRESS),
    "traffic-canary-keda": replace(CANARY, autoscaler=Autoscaler.KEDA),
}
THREE = replace(ON_CPU, slots=(*ON_CPU.slots, slot("c", served(ordinal=3))))
INGRESS = replace(STANDARD, networking=Networking.INGRESS)
STAGING = replace(STANDARD, environment=Environment.STAGING)
VOLUME = replace(ONE, slots=(slot(uri="pvc://claim/digits"),))
TWO_MODELS = replace(
    ON_CPU,
    slots=(slot("a", served("x"), served("y")), slot("b", served("x", 2), served("y", 2))),
    splits=(split("x", ("b", 2, 1000), ("a", 1, 9000)), split("y", ("a", 1, 10_000))),
)
MANY = replace(
    ON_CPU,
    slots=(
        slot("a", *(served(f"m{i}", 1) for i in range(6))),
        slot("b", *(served(f"m{i}", 2) for i in range(6))),
    ),
    splits=(),
)
OF_WORKLOAD: dict[str, tuple[Profile, Workload]] = {
    "route-rules": (STANDARD, MANY),
    "split-ingress": (INGRESS, TWO),
    "split-knative-slots": (KNATIVE, THREE),
    "split-knative-models": (KNATIVE, TWO_MODELS),
    "split-models": (CANARY, TWO_MODELS),
    "split-percent": (
        CANARY,
        replace(ON_CPU, splits=(split("digits", ("b", 2, 25), ("a", 1, 9975)),)),
    ),
    "split-knative-percent": (
        KNATIVE,
        replace(ON_CPU, splits=(split("digits", ("b", 2, 25), ("a", 1, 9975)),)),
    ),
    "scale-to-zero": (STAGING, replace(TWO, scaling=Scaling(least=0, most=2))),
    "scaling-without-autoscaler": (replace(STANDARD, autoscaler=Autoscaler.NONE), TWO),
    "prod-replicas": (STANDARD, replace(TWO, scaling=Scaling(least=1, most=2))),
    "gpu-none": (replace(STANDARD, gpus=()), TWO),
    "gpu-unknown": (STANDARD, replace(TWO, resources=Resources(gpus=1, gpu_product="T4"))),
    "gpu-knative": (replace(KNATIVE, gpus=STANDARD.gpus), TWO),
    "storage-scheme": (STANDARD, replace(TWO, slots=(slot(uri="gs://b/x"),), splits=())),
    "pvc-knative": (KNATIVE, VOLUME),
}


def test_a_profile_file_becomes_typed_values() -> None:
    """Everything that a file says stands in the profile, and nothing else."""
    assert read_profile(FILE) == STANDARD


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (FILE.replace("autoscaler: keda", "autoscaler: vpa"), ProfileError, "autoscaler"),
        (FILE.replace("autoscaler:", "autoscale:"), ProfileError, "autoscale: extra inputs"),
        (FILE.replace("secret: model-store", "secrets: [x]"), ProfileError, "storage.secrets"),
        (
            FILE.replace("secret: model-store", "conch_url: conch:8090"),
            ProfileError,
            "conch_url is",
        ),
        (FILE.replace("secret: model-store", "conch_secret: A_B"), ProfileError, "conch_secret"),
        (FILE.replace("schemes: [s3, oci]", "schemes: [conch]"), RefusedError, r"\(1 more\)"),
        (FILE.replace("environment: prod\n", ""), ProfileError, "environment: field required"),
        (FILE.replace("v0.20.0", "v0.9.0"), UnknownVersionError, "0.15, 0.16"),
        (FILE.replace("kind: gateway-api", "kind: knative"), RefusedError, "never does"),
        (FILE + "---\na: 1\n", ProfileError, "one document"),
        (FILE + "name: again\n", ProfileError, "repeated keys"),
        ("a: [", UnusableYamlError, "not YAML"),
    ],
)
def test_a_faulty_file_is_refused(text: str, error: type[Exception], words: str) -> None:
    """A file that is wrong says what is wrong and where."""
    with pytest.raises(error, match=words):
        read_profile(text)


def test_a_profile_states_where_builds_are_fetched_from() -> None:
    """The control plane's address, its namespace and the Secret with the key; two have defaults."""
    storage = (
        "schemes: [conch]\n  conch_image: conch:1\n  conch_url: http://conch.platform:8090\n"
        "  conch_namespace: platform\n  ports: []"
    )
    found = read_profile(FILE.replace("schemes: [s3, oci]", storage)).storage
    assert (found.conch_url, found.conch_port) == ("http://conch.platform:8090", 8090)
    assert (found.conch_namespace, found.conch_secret) == ("platform", "conch-fetch")
    assert found.ports == ()


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://conch", 80), ("https://conch.example.org/x", 443), ("https://c:8443", 8443)],
)
def test_the_port_of_the_control_plane(url: str, port: int) -> None:
    """The network policy opens the port of the address."""
    assert Storage(conch_url=url).conch_port == port


@pytest.mark.parametrize("url", ["conch:8090", "ftp://conch", "http://", "http://conch:x"])
def test_an_address_of_the_control_plane_that_is_none(url: str) -> None:
    """It is refused before a pod waits for it."""
    with pytest.raises(ProfileError, match="no http address"):
        Storage(conch_url=url)


@pytest.mark.parametrize("code", OF_PROFILE)
def test_a_profile_that_contradicts_itself(code: str) -> None:
    """Each contradiction is refused alone, with a reason and the nearest thing that works."""
    (found,) = refusals(OF_PROFILE[code])
    assert found.code == code
    assert found.reason
    assert found.nearest.endswith(".")


@pytest.mark.parametrize("code", OF_WORKLOAD)
def test_what_a_profile_cannot_do(code: str) -> None:
    """Each thing that the cluster would ignore or refuse later is refused now."""
    found = refusals(*OF_WORKLOAD[code])
    assert [refusal.code for refusal in found] == [code]
    assert all(refusal.reason and refusal.nearest for refusal in found)


def test_what_works_is_not_refused() -> None:
    """The workloads of the tests run on the profiles of the tests."""
    assert refusals(KNATIVE, ONE) == ()
    assert refusals(KNATIVE, ON_CPU) == ()
    assert refusals(STANDARD, TWO) == ()
    features = frozenset({"persistent-volume-claim", "nodeselector"})
    open_minded = replace(KNATIVE, knative_features=features, gpus=STANDARD.gpus)
    assert refusals(open_minded, VOLUME) == ()
    assert refusals(open_minded, TWO) == ()


def test_every_refusal_is_told_at_once() -> None:
    """The error lists all refusals, so that nobody meets them one by one."""
    profile = replace(STANDARD, monitoring=None, gpus=())
    with pytest.raises(RefusedError, match=r"KEDA without a Prometheus.*\(1 more\)") as caught:
        refuse(profile, TWO)
    told = caught.value.details["refusals"]
    assert [refusal["code"] for refusal in told] == ["keda-prometheus", "gpu-none"]


@pytest.mark.parametrize(
    ("reference", "tag", "release", "by_digest"),
    [
        ("nvcr.io/nvidia/tritonserver:25.08-py3", "25.08-py3", "25.08", False),
        (f"host:5000/triton@{DIGEST}", "", "", True),
        (f"host:5000/triton:25.08@{DIGEST}", "25.08", "25.08", True),
        ("host/triton:mine", "mine", "", False),
    ],
)
def test_image_references(reference: str, tag: str, release: str, by_digest: bool) -> None:
    """A reference tells its tag, Triton's release and whether it names bytes."""
    image = TritonImage(reference=reference)
    assert (image.tag, image.release, image.by_digest) == (tag, release, by_digest)


@pytest.mark.parametrize("reference", ["triton", "triton:latest", "host:5000/triton"])
def test_an_unpinned_image_is_refused(reference: str) -> None:
    """No profile runs whatever image is the latest."""
    with pytest.raises(ProfileError, match="not pinned"):
        TritonImage(reference=reference)


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(ONE, name="Digits"),
        lambda: replace(ONE, name="d" * 41),
        lambda: replace(ONE, slots=()),
        lambda: replace(ONE, slots=(slot(), slot())),
        lambda: replace(ONE, splits=(split("digits", ("a", 2, 10_000)),)),
        lambda: slot("a", served(), served(ordinal=2)),
        lambda: slot(uri="models"),
        lambda: Scaling(least=3, most=2),
        lambda: Scaling(queue_target_us=0),
        lambda: Scaling(cpu_percent=101),
        lambda: replace(ONE, splits=(split("digits", ("a", 1, 10_000)),) * 2),
        lambda: replace(ONE, slots=(slot("Blue"),)),
        lambda: Resources(gpu_product="NVIDIA-L4"),
        lambda: Resources(cpu="0"),
    ],
)
def test_a_workload_that_contradicts_itself(make: Callable[[], object]) -> None:
    """A workload that could run nowhere cannot be made."""
    with pytest.raises(WorkloadError):
        make()


def test_a_served_model_is_made_of_a_build() -> None:
    """What a target knows of a build is what a slot says of it."""
    signature = Signature(inputs=(), outputs=())
    build = BuildRef(
        build_id="digits-build-1",
        model=TritonName("digits"),
        ordinal=Ordinal(1),
        path=Path("/builds/1"),
        digest="cd" * 32,
        signature=signature,
        max_batch_size=64,
    )
    assert ServedModel.of(build, ServingSpec()) == served()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", 1000), ("500m", "0.5"), ("1.5Gi", 1610612736), ("-1", -1), (3, 3), ("2M", 2_000_000)],
)
def test_quantities(text: str | int, value: int | str) -> None:
    """Quantities are read by Kubernetes' grammar."""
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gb", "0x1"])
def test_what_is_no_quantity(text: str) -> None:
    """Anything else is refused, not read as a part of itself."""
    with pytest.raises(QuantityError):
        quantity(text)


def test_versions_are_ordered_by_number() -> None:
    """0.20 comes after 0.19, whatever the order of their letters."""
    minors = [int(version.split(".")[1]) for version in KServeVersion]
    assert minors == sorted(minors)
    assert KServeVersion.V0_20.at_least(KServeVersion.V0_19)
    assert not KServeVersion.V0_19.at_least(KServeVersion.V0_20)


def test_who_counts_what_servers_are_asked() -> None:
    """The address that loggers send to, its port, and how long an answer may take."""
    payloads = read_profile(PAYLOADS).payloads
    assert payloads is not None
    assert payloads.sink == "http://conch.conch:8090/v1/payloads/0123456789abcdef-_"
    assert (payloads.port, payloads.answer_s) == (8090, 30.0)
    assert Payloads(url="https://conch.example.org", token="x" * 16).port == 443
    assert read_profile(FILE).payloads is None


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"url": "conch:8090"}, "payloads.url"),
        ({"url": "ftp://conch"}, "payloads.url"),
        ({"token": "short"}, "payloads.token"),
        ({"token": "x" * 15 + "/"}, "payloads.token"),
        ({"answer_s": 0.0}, "payloads.answer_s"),
    ],
)
def test_payloads_that_are_refused(change: dict[str, Any], names: str) -> None:
    """The message names the key."""
    given = {"url": "http://conch.conch:8090", "token": "x" * 16} | change
    with pytest.raises(ProfileError, match=names):
        Payloads(**given)


def test_where_builds_run() -> None:
    """As Jobs where the profile says so; a GPU has to be one of its own."""
    serve = "serve: {namespace: models, uri: 's3://models'}\n"
    builds = (
        "builds: {image: 'conch:1', namespace: conch, claim: conch-home, resources: RESOURCES}\n"
    )
    text = FILE + serve + builds
    stated = read_site(text.replace("RESOURCES", "{gpus: 1, gpu_product: NVIDIA-L4}")).builds
    assert stated is not None
    assert (stated.image, stated.claim, stated.resources.gpus) == ("conch:1", "conch-home", 1)
    assert read_site(FILE + serve).builds is None
    with pytest.raises(ProfileError, match="NVIDIA-T4"):
        read_site(text.replace("RESOURCES", "{gpus: 1, gpu_product: NVIDIA-T4}"))
