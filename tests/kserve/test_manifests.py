"""Emitted manifests: clean under the linter, valid under the definitions, and as reviewed."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve_profiles import CANARY, KNATIVE, LOGGED, ON_CPU, ONE, STANDARD, TWO, served, slot, split

from conch.core import ServingSpec, TritonName
from conch.kserve import (
    Autoscaler,
    DeploymentMode,
    Environment,
    KServeVersion,
    Monitoring,
    Networking,
    Profile,
    Protocol,
    RefusedError,
    Resources,
    Scaling,
    Severity,
    Storage,
    Workload,
    lint_documents,
    manifests,
    object_name,
    refusals,
    render,
)
from conch.kserve.bundling import versioned_schemas
from conch.kserve.manifests.objects import Manifest
from conch.kserve.manifests.rendering import as_yaml
from conch.kserve.refusals import route_rules
from conch.kserve.schemas import with_metadata
from conch.kserve.structural import Schema, violations

HERE = Path(__file__).parent
CORE = {"ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"}
KSERVE = "serving.kserve.io/"
LAB = replace(
    STANDARD,
    name="lab",
    environment=Environment.STAGING,
    autoscaler=Autoscaler.NONE,
    monitoring=None,
    storage=Storage(
        schemes=frozenset({"conch"}),
        conch_image="registry.example.org/conch-fetch:0.1.0",
        conch_url="http://conch.conch:8090",
        ports=(),
    ),
)
FETCHED = replace(ONE, slots=(slot(uri=f"conch://digits/b-1/{'cd' * 32}"),))
GOLDEN: dict[str, tuple[Profile, Workload]] = {
    "knative-canary": (KNATIVE, ON_CPU),
    "standard-canary": (replace(CANARY, payloads=LOGGED), TWO),
    "standard-slots": (STANDARD, TWO),
    "standard-conch": (LAB, FETCHED),
}


@cache
def definitions() -> dict[tuple[str, str], Schema]:
    """Return the schemas of the other projects' kinds."""
    found: dict[tuple[str, str], Schema] = {}
    for path in sorted((HERE / "data" / "crds" / "others").glob("*.yaml.gz")):
        for body in yaml.safe_load_all(gzip.decompress(path.read_bytes())):
            if body and body.get("kind") == "CustomResourceDefinition":
                kind, schemas = versioned_schemas(body)
                found |= {(kind, version): schema for version, schema in schemas.items()}
    return found


def profiles(version: KServeVersion, mode: DeploymentMode) -> Iterator[Profile]:
    """Yield every combination of options that a profile can have."""
    for networking, autoscaler, environment, monitored, features in product(
        Networking,
        Autoscaler,
        Environment,
        (None, Monitoring(prometheus_url="http://p:9090", labels={"release": "p"})),
        (frozenset[str](), frozenset({"nodeselector", "tolerations", "topologyspreadconstraints"})),
    ):
        yield replace(
            STANDARD,
            version=version,
            mode=mode,
            networking=networking,
            autoscaler=autoscaler,
            environment=environment,
            monitoring=monitored,
            knative_features=features,
            payloads=None if monitored else LOGGED,
            storage=Storage(
                schemes=frozenset({"s3", "gs", "pvc", "oci", "conch"}),
                conch_image="conch:1",
                conch_url="http://conch.conch:8090",
            ),
        )


def workloads() -> Iterator[Workload]:
    """Yield workloads that differ in everything that a manifest depends on."""
    for base, scaling, resources, protocol, scheme in product(
        (ONE, ON_CPU),
        (Scaling(), Scaling(least=2, most=4), Scaling(least=0, most=3)),
        (Resources(), Resources(gpus=1), Resources(gpus=2, gpu_product="NVIDIA-L4")),
        Protocol,
        ("s3", "pvc", "oci", "conch"),
    ):
        slots = tuple(replace(each, storage_uri=f"{scheme}://models/x") for each in base.slots)
        yield replace(base, slots=slots, scaling=scaling, resources=resources, protocol=protocol)


@pytest.mark.parametrize("version", list(KServeVersion))
@pytest.mark.parametrize("mode", list(DeploymentMode))
def test_what_is_emitted_passes_the_linter_and_the_definitions(
    version: KServeVersion, mode: DeploymentMode
) -> None:
    """No combination that is not refused yields an error, a warning or an invalid object."""
    seen: set[str] = set()
    emitted = 0
    for profile in profiles(version, mode):
        if refusals(profile):
            continue
        for workload in workloads():
            if refusals(profile, workload):
                continue
            emitted += 1
            for body in manifests(profile, workload).values():
                key = json.dumps(body)
                if key not in seen:
                    seen.add(key)
                    check(body, version, mode)
    assert emitted >= 150


def check(body: Manifest, version: KServeVersion, mode: DeploymentMode) -> None:
    """Check one emitted object by whatever knows its kind."""
    kind, api_version = body["kind"], body["apiVersion"]
    if api_version.startswith(KSERVE):
        found = lint_documents(as_yaml(body), kserve_version=version, mode=mode)
        assert [f for f in found if f.severity is not Severity.NOTE] == [], body
        assert "document-not-checked" not in {f.code for f in found}
    elif kind not in CORE:
        schema = with_metadata(definitions()[kind, api_version])
        assert list(violations(body, schema)) == [], body


@pytest.mark.parametrize("case", GOLDEN)
def test_the_reviewed_text(case: str) -> None:
    """Workloads on profiles, in full, as a person has read them."""
    folder = HERE / "golden" / case
    files = render(*GOLDEN[case])
    assert set(files) == {path.name for path in folder.iterdir()}
    for name, text in files.items():
        assert text == (folder / name).read_text(), name


def test_rendering_is_deterministic_and_the_kustomization_lists_everything() -> None:
    """Equal arguments give equal text, in an order that does not depend on the caller's."""
    files = render(STANDARD, TWO)
    again = render(STANDARD, replace(TWO, slots=TWO.slots))
    assert dict(files) == dict(again)
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert listed == sorted(set(files) - {"kustomization.yaml"})


def test_nothing_shared_by_slots_names_one_of_them() -> None:
    """KServe copies an InferenceService's metadata to all pods: promotion must not touch it."""
    promoted = split("digits", ("b", 2, 10_000), ("a", 1, 0))
    after = replace(TWO, splits=(promoted,))
    before, then = (
        next(body for name, body in manifests(CANARY, each).items() if "inference-service" in name)
        for each in (TWO, after)
    )
    assert before["metadata"] == then["metadata"]
    predictors = [
        {p["name"]: p["model"]["storageUri"] for p in (body["spec"]["predictor"], canary)}
        for body in (before, then)
        for canary in [body["spec"]["canary"][0]["predictor"]]
    ]
    assert predictors[0] == predictors[1]
    assert (before["spec"]["predictor"]["name"], then["spec"]["predictor"]["name"]) == ("a", "b")


def test_no_text_depends_on_anchors_or_says_null() -> None:
    """Reviewers read plain values; an absent option leaves no field behind."""
    for profile, workload in GOLDEN.values():
        for text in render(profile, workload).values():
            assert "&id" not in text
            assert "null" not in text


def test_a_refused_workload_is_not_rendered() -> None:
    """Nothing is emitted that the profile cannot do."""
    with pytest.raises(RefusedError):
        render(KNATIVE, replace(ON_CPU, splits=(split("digits", ("b", 2, 25), ("a", 1, 9975)),)))


def service(profile: Profile, workload: Workload, name: str) -> dict[str, Any]:
    """Return one emitted InferenceService."""
    return manifests(profile, workload)[f"inference-service-{name}.yaml"]


@pytest.mark.parametrize(
    ("weights", "slot_name", "percent"),
    [
        ((("b", 2, 1000), ("a", 1, 9000)), "b", 10),
        ((("a", 1, 10_000),), "b", 0),
        ((("b", 2, 10_000),), "a", 0),
        ((), "b", 0),
    ],
)
def test_the_canary_of_knative_mode(
    weights: tuple[tuple[str, int, int], ...], slot_name: str, percent: int
) -> None:
    """The one InferenceService holds the candidate with its share, 0 where no split names it."""
    splits = (split("digits", *weights),) if weights else ()
    files = manifests(KNATIVE, replace(ON_CPU, splits=splits))
    services = [name for name in files if name.startswith("inference-service")]
    assert services == [f"inference-service-{slot_name}.yaml"]
    predictor = files[services[0]]["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == percent
    assert predictor["model"]["storageUri"].endswith(f"/{slot_name}")


@given(before=st.integers(0, 100), after=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_step_of_a_release_changes_the_weights_and_nothing_else(before: int, after: int) -> None:
    """Raising, promoting and rolling back touch one field: no new revision, no restarted server."""
    for profile, file in ((KNATIVE, "inference-service-b.yaml"), (STANDARD, "http-route.yaml")):
        first, second = (
            manifests(
                profile,
                replace(
                    ON_CPU,
                    splits=(split("digits", ("b", 2, 100 * p), ("a", 1, 10_000 - 100 * p)),),
                ),
            )
            for p in (before, after)
        )
        changed = {name for name in first if first[name] != second[name]}
        assert changed <= {file}
        assert first.keys() == second.keys()
        body = second["inference-service-b.yaml"]["spec"]["predictor"]
        if profile is KNATIVE:
            body["canaryTrafficPercent"] = before
            assert first == second


def test_one_slot_has_no_percentage() -> None:
    """A field that a first deployment would ignore is not written."""
    assert "canaryTrafficPercent" not in service(KNATIVE, ONE, "a")["spec"]["predictor"]


def test_standard_mode_routes_by_weight_and_model() -> None:
    """A model has the weights of its own split; a named version has the slot that holds it."""
    workload = replace(
        ON_CPU,
        slots=(slot("a", served("x"), served("y")), slot("b", served("x", 2), served("y", 2))),
        splits=(split("x", ("b", 2, 2500), ("a", 1, 7500)),),
    )
    rules = manifests(STANDARD, workload)["http-route.yaml"]["spec"]["rules"]
    assert len(rules) == route_rules(workload)
    read = {
        rule["matches"][0]["path"]["value"]: [
            (ref["name"], ref["weight"]) for ref in rule["backendRefs"]
        ]
        for rule in rules
    }
    assert read == {
        "/v2/models/x/versions/1": [("digits-a-predictor", 10_000)],
        "/v2/models/x/versions/2": [("digits-b-predictor", 10_000)],
        "/v2/models/y/versions/1": [("digits-a-predictor", 10_000)],
        "/v2/models/y/versions/2": [("digits-b-predictor", 10_000)],
        "/v2/models/x": [("digits-b-predictor", 2500), ("digits-a-predictor", 7500)],
        "/v2/models/y": [("digits-a-predictor", 10_000)],
        "/v2": [("digits-a-predictor", 10_000)],
    }


@pytest.mark.parametrize("version", list(KServeVersion))
def test_the_mode_is_written_in_the_words_of_the_version(version: KServeVersion) -> None:
    """0.15 knows other names for the modes than later versions."""
    old = version is KServeVersion.V0_15
    names_of = ((KNATIVE, ("Serverless", "Knative")), (STANDARD, ("RawDeployment", "Standard")))
    for profile, names in names_of:
        body = service(replace(profile, version=version), ON_CPU, "b")
        written = body["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
        assert written == names[0 if old else 1]


def test_a_changed_runtime_is_another_runtime() -> None:
    """A runtime is never edited under the services that name it; equal profiles share one."""
    first, same = (
        manifests(STANDARD, w)["serving-runtime.yaml"]["metadata"]["name"] for w in (TWO, ON_CPU)
    )
    other = manifests(replace(STANDARD, startup_s=60), TWO)["serving-runtime.yaml"]
    assert first == same != other["metadata"]["name"]
    body = service(STANDARD, TWO, "a")
    assert body["spec"]["predictor"]["model"]["runtime"] == first


def test_workloads_share_a_runtime_word_for_word() -> None:
    """Two workloads with one runtime write the same object, so that neither undoes the other."""
    other = replace(TWO, name="other")
    first, second = (manifests(STANDARD, each)["serving-runtime.yaml"] for each in (TWO, other))
    assert first == second


def test_ready_means_loaded_and_warmed() -> None:
    """Probes ask for strict readiness, and a slow load is not killed while it lasts."""
    (container,) = manifests(STANDARD, TWO)["serving-runtime.yaml"]["spec"]["containers"]
    assert "--strict-readiness=true" in container["args"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= STANDARD.startup_s
    (container,) = manifests(KNATIVE, ONE)["serving-runtime.yaml"]["spec"]["containers"]
    assert "livenessProbe" not in container


def test_one_port_in_knative_mode() -> None:
    """Knative takes one port, whose name says which HTTP it speaks."""
    for protocol, name in ((Protocol.HTTP, "http1"), (Protocol.GRPC, "h2c")):
        files = manifests(KNATIVE, replace(ONE, protocol=protocol))
        (container,) = files["serving-runtime.yaml"]["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == [name]


def test_the_queue_target_stays_above_the_batching_delay() -> None:
    """A server that waits to fill batches is not overloaded for it."""
    patient = served(serving=ServingSpec(queue_delay_us=20_000))
    slow = replace(TWO, slots=(slot("a", patient),), splits=())
    (trigger,) = manifests(STANDARD, slow)["scaled-object-a.yaml"]["spec"]["triggers"]
    assert int(trigger["metadata"]["threshold"]) == 80_000
    stated = replace(slow, scaling=Scaling(least=2, most=4, queue_target_us=30_000))
    (trigger,) = manifests(STANDARD, stated)["scaled-object-a.yaml"]["spec"]["triggers"]
    assert int(trigger["metadata"]["threshold"]) == 30_000


def test_the_queue_is_a_mean_over_requests_and_not_over_models() -> None:
    """An idle second model does not change the metric (triton-inference-server issue 8979)."""
    (trigger,) = manifests(STANDARD, TWO)["scaled-object-a.yaml"]["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    assert trigger["metricType"] == "Value"
    busy = {"nv_inference_queue_duration_us": 50 * 8000.0, "nv_inference_request_success": 50.0}
    idle = dict.fromkeys(busy, 0.0)
    assert evaluated(query, [busy]) == evaluated(query, [busy, idle]) == 8000.0
    assert evaluated(query, [idle]) == 0.0


def evaluated(query: str, rates: list[dict[str, float]]) -> float:
    """Evaluate the query's own arithmetic over the rates of some models."""
    numbers = query
    for name in ("nv_inference_queue_duration_us", "nv_inference_request_success"):
        before, _, rest = numbers.partition(f"sum(rate({name}{{")
        numbers = before + str(sum(rate[name] for rate in rates)) + rest.partition("]))")[2]
    parts = re.fullmatch(r"(\S+) / clamp_min\((\S+), (\S+)\)", numbers)
    assert parts is not None, numbers
    waited, answered, least = (float(part) for part in parts.groups())
    return waited / max(answered, least)


def test_concurrency_fills_the_largest_batches() -> None:
    """Knative sends a server as many requests as its batcher can use."""
    big, unbatched = ServingSpec(max_batch_size=8, instances=2), ServingSpec(max_batch_size=0)
    models = (served("x", 1, big), served("y", 1, unbatched))
    workload = replace(ONE, slots=(slot("a", *models),))
    assert service(KNATIVE, workload, "a")["spec"]["predictor"]["scaleTarget"] == 16


def test_only_callers_and_prometheus_reach_a_server() -> None:
    """The policy names the namespaces that may call; a server opens few connections itself."""
    spec = manifests(STANDARD, TWO)["network-policy.yaml"]["spec"]
    allowed = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: [
            port["port"] for port in rule["ports"]
        ]
        for rule in spec["ingress"]
        for peer in rule["from"]
    }
    assert allowed == {
        "gateways": [8080, 9000],
        "models": [8080, 9000],
        "monitoring": [8002],
    }
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 443]


def test_a_logger_tells_conch_what_every_slot_was_asked() -> None:
    """HTTP then reaches KServe's agent first, and the pods may reach the control plane."""
    logger = {"mode": "all", "url": "http://conch.conch:8090/v1/payloads/golden-golden-golden"}
    for profile in (KNATIVE, STANDARD, CANARY):
        found = manifests(replace(profile, payloads=LOGGED), ON_CPU)
        services = [body for body in found.values() if body["kind"] == "InferenceService"]
        predictors = [body["spec"]["predictor"] for body in services]
        predictors += [one["predictor"] for b in services for one in b["spec"].get("canary", ())]
        assert len(predictors) == (1 if profile is KNATIVE else 2)
        assert all(predictor["logger"] == logger for predictor in predictors)
        policy = found["network-policy.yaml"]["spec"]
        outwards = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
        assert outwards == [53, 53, 443, 8090]
        inwards = [port["port"] for port in policy["ingress"][0]["ports"]]
        assert profile is KNATIVE or inwards == [9081, 9000]


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        pytest.param({}, [("conch", [8090])], id="beside it on the cluster"),
        pytest.param({"ports": (443,)}, [("", [443]), ("conch", [8090])], id="and other stores"),
        pytest.param(
            {"conch_url": "https://conch.example.org", "conch_namespace": ""},
            [("", [443])],
            id="elsewhere",
        ),
    ],
)
def test_servers_reach_the_control_plane_where_it_has_the_builds(
    given: dict[str, Any], rules: list[tuple[str, list[int]]]
) -> None:
    """Names, the stated stores and the control plane's port, in its namespace; nothing is open."""
    profile = replace(LAB, storage=replace(LAB.storage, **given))
    names, *others = manifests(profile, FETCHED)["network-policy.yaml"]["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    found = [
        (
            rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            if "to" in rule
            else "",
            [port["port"] for port in rule["ports"]],
        )
        for rule in others
    ]
    assert found == rules
    elsewhere = replace(
        profile, storage=replace(profile.storage, schemes=frozenset({"s3"}), ports=(443,))
    )
    egress = manifests(elsewhere, ONE)["network-policy.yaml"]["spec"]["egress"]
    assert [port["port"] for rule in egress[1:] for port in rule["ports"]] == [443]


def test_the_key_is_named_and_never_written() -> None:
    """The container reads the variables that the program reads, the key from a Secret."""
    container = manifests(LAB, FETCHED)["storage-container.yaml"]["spec"]["container"]
    assert container["command"] == ["python", "-m", "conch.kserve.fetching"]
    assert "args" not in container  # KServe's: the address and the folder
    env = {one["name"]: one for one in container["env"]}
    assert env["CONCH_URL"] == {"name": "CONCH_URL", "value": "http://conch.conch:8090"}
    assert env["CONCH_API_KEY"] == {
        "name": "CONCH_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "conch-fetch", "key": "key"}},
    }


def test_a_single_server_has_no_budget() -> None:
    """A budget over one server would block every drain of its node."""
    assert "disruption-budget-a.yaml" not in manifests(KNATIVE, ONE)
    assert "disruption-budget-a.yaml" in manifests(STANDARD, TWO)


@pytest.mark.parametrize("name", ["digits", "Fraud_2", "7seas", "x" * 60, "A" * 63, "a-_b"])
def test_object_names_fit_every_object(name: str) -> None:
    """The longest derived name is a DNS label, and different models never share one."""
    found = object_name(TritonName(name))
    assert len(f"{found}-a-predictor-00001") <= 63
    assert replace(ONE, name=found).name == found
    assert object_name(TritonName(name + "_")) != found
