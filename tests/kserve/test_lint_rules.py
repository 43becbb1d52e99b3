"""Every rule of the linter, by its code: on a minimal case, and not on a clean one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from kserve_manifests import NOTHING, as_text, manifest

from conch.kserve import DeploymentMode, KServeVersion, Severity, lint_documents, lint_update
from conch.kserve.linting import DOCUMENT_CODES
from conch.kserve.rules import RULES, UPDATE_RULES

KNATIVE, STANDARD = DeploymentMode.KNATIVE, DeploymentMode.STANDARD
V15, V19, V20, V21 = (
    KServeVersion.V0_15,
    KServeVersion.V0_19,
    KServeVersion.V0_20,
    KServeVersion.V0_21,
)
CLASS = "serving.kserve.io/autoscalerClass"
Change = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A change that breaks a rule, and one close to it that does not."""

    code: str
    bad: Change
    good: Change = field(default_factory=dict)
    kind: str = "InferenceService"
    version: KServeVersion = V20
    mode: DeploymentMode = KNATIVE
    good_version: KServeVersion | None = None
    good_mode: DeploymentMode | None = None


def predictor(**fields: Any) -> Change:
    return {"spec": {"predictor": fields}}


def model(**fields: Any) -> Change:
    return predictor(model=fields)


def annotated(name: str, value: Any, **spec: Any) -> Change:
    return {"metadata": {"annotations": {name: value}}, "spec": spec}


def scaled(name: str, **fields: Any) -> Change:
    return annotated(CLASS, name, predictor=fields)


def canary(name: str = "next", percent: int = 10, **fields: Any) -> Change:
    body = {"model": {"modelFormat": {"name": "triton"}, "name": "", "storageUri": "s3://b/two"}}
    return {"trafficPercent": percent, "predictor": {"name": name, **body, **fields}}


def canaries(*entries: Change, **fields: Any) -> Change:
    return {"spec": {"canary": list(entries), "predictor": fields}}


def graph(**nodes: Any) -> Change:
    return {"spec": {"nodes": nodes}}


def splitter(*weights: int | None) -> Change:
    steps = [
        {"serviceName": f"s{i}"} | ({} if weight is None else {"weight": weight})
        for i, weight in enumerate(weights)
    ]
    return graph(root={"routerType": "Splitter", "steps": steps})


def metric(kind: str, **source: Any) -> Change:
    names = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}
    return {"metrics": [{"type": kind, names[kind]: source}]}


CPU = metric("Resource", name="cpu", target={"type": "Utilization", "averageUtilization": 80})
QUERY = {"backend": "prometheus", "query": "up", "serverAddress": "http://prometheus:9090"}
MOUNTS = [{"uri": "s3://b/x", "mountPath": "/mnt/models/x"}]

CASES = [
    Case(code="document-api-version", bad={"apiVersion": "serving.kserve.io/v1alpha2"}),
    Case(code="document-nameless", bad={"metadata": {"name": NOTHING}}),
    Case(code="document-not-checked", bad={"kind": "LLMInferenceService"}),
    Case(code="schema-unknown-field", bad=predictor(minReplica=1), good=predictor(minReplicas=1)),
    Case(code="schema-missing-field", bad=model(modelFormat={"name": NOTHING})),
    Case(code="schema-wrong-type", bad=predictor(minReplicas="1"), good=predictor(minReplicas=1)),
    Case(
        code="schema-wrong-type",
        bad=annotated("serving.kserve.io/enable-tag-routing", True),
        good=annotated("serving.kserve.io/enable-tag-routing", "true"),
    ),
    Case(
        code="schema-bad-value",
        bad=model(resources={"limits": {"memory": "8 GB"}}),
        good=model(resources={"limits": {"memory": "8Gi", "cpu": 2}}),
    ),
    Case(
        code="schema-duplicate-item",
        bad=model(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]),
        good=model(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]),
    ),
    Case(code="name-format", bad={"metadata": {"name": "1-model"}}),
    Case(code="name-format", kind="InferenceGraph", bad={"metadata": {"name": "Model"}}),
    Case(code="one-implementation", bad=predictor(model=NOTHING)),
    Case(code="one-implementation", bad=predictor(triton={"storageUri": "s3://b/x"})),
    Case(
        code="one-implementation",
        bad=predictor(containers=[{"name": "kserve-container", "image": "i"}]),
        good=predictor(containers=[{"name": "sidecar", "image": "i"}]),
    ),
    Case(code="one-implementation", bad={"spec": {"transformer": {"minReplicas": 1}}}),
    Case(
        code="one-implementation",
        bad={"spec": {"explainer": {"minReplicas": 1}}},
        good={"spec": {"explainer": {"art": {"type": "SquareAttack"}}}},
    ),
    Case(
        code="concurrency-negative",
        bad=predictor(containerConcurrency=-1),
        good=predictor(containerConcurrency=0),
    ),
    Case(
        code="logger-mode",
        bad=predictor(logger={"url": "http://sink"}),
        good=predictor(logger={"url": "http://sink", "mode": "all"}),
    ),
    Case(
        code="logger-storage",
        bad=predictor(logger={"mode": "all", "storage": {"path": "p"}}),
        good=predictor(
            logger={"mode": "all", "storage": {"path": "p", "parameters": {}, "key": "k"}}
        ),
    ),
    Case(code="env-pythonpath", bad=model(env=[{"name": "PYTHONPATH", "value": "/x"}])),
    Case(
        code="env-pythonpath",
        bad=model(env=[{"name": "PYTHONPATH", "value": "/x"}]),
        good=model(env=[{"name": "PYTHONPATH", "value": "/x"}]),
        good_version=V15,
    ),
    Case(
        code="env-pythonpath",
        kind="ServingRuntime",
        bad={"spec": {"containers": [{"name": "c", "env": [{"name": "PYTHONPATH"}]}]}},
        good={"spec": {"containers": [{"name": "c", "env": [{"name": "PYTHONHOME"}]}]}},
    ),
    Case(code="model-name-set", bad=model(name="mine"), good=model(name="")),
    Case(
        code="storage-uri-twice",
        bad=predictor(storageUris=MOUNTS),
        good=predictor(storageUris=MOUNTS, model={"storageUri": NOTHING}),
    ),
    Case(
        code="storage-uris-path",
        bad=predictor(storageUris=[{"uri": "s3://b/x", "mountPath": "/mnt/../x"}]),
        good=predictor(storageUris=MOUNTS),
    ),
    Case(
        code="storage-uris-parent",
        bad=predictor(storageUris=[*MOUNTS, {"uri": "s3://b/y", "mountPath": "/data/y"}]),
        good=predictor(storageUris=[*MOUNTS, {"uri": "pvc://y", "mountPath": "/data/y"}]),
    ),
    Case(
        code="transformer-storage-uri",
        bad=predictor(
            containers=[
                {"name": "transformer-container", "env": [{"name": "STORAGE_URI", "value": "x"}]}
            ]
        ),
        good=predictor(containers=[{"name": "transformer-container", "image": "i"}]),
    ),
    Case(
        code="storage-spec-scheme",
        bad=model(storage={"key": "k"}, storageUri="gs://b/x"),
        good=model(storage={"key": "k"}, storageUri="s3://b/x"),
    ),
    Case(code="replicas-negative", bad=predictor(minReplicas=-1), good=predictor(minReplicas=0)),
    Case(
        code="replicas-order",
        bad=predictor(minReplicas=3, maxReplicas=2),
        good=predictor(minReplicas=3, maxReplicas=0),
    ),
    Case(code="autoscaler-class", bad=annotated(CLASS, "kpa"), good=annotated(CLASS, "external")),
    Case(
        code="knative-strategy",
        bad=predictor(deploymentStrategy={"type": "Recreate"}),
        good=predictor(deploymentStrategy={"type": "Recreate"}),
        good_mode=STANDARD,
    ),
    Case(
        code="knative-scale-metric",
        bad=predictor(scaleMetric="rps", scaleTarget=0),
        good=predictor(scaleMetric="concurrency", scaleTarget=0),
    ),
    Case(
        code="knative-scale-metric",
        bad=predictor(scaleMetric="cpu"),
        good=predictor(scaleMetric="rps", scaleTarget=5),
    ),
    Case(
        code="hpa-metric",
        mode=STANDARD,
        bad=scaled("hpa", scaleMetric="rps"),
        good=scaled("hpa", scaleMetric="memory"),
    ),
    Case(
        code="hpa-metric",
        mode=STANDARD,
        bad=scaled("hpa", autoScaling=metric("External", metric=QUERY, target={"value": "1"})),
        good=scaled("hpa", autoScaling=CPU),
    ),
    Case(
        code="hpa-target",
        mode=STANDARD,
        bad=scaled("hpa", scaleMetric="memory", scaleTarget=200),
        good=scaled("hpa", scaleMetric="memory", scaleTarget=100),
    ),
    Case(
        code="keda-scale-metric",
        mode=STANDARD,
        bad=scaled("keda", scaleMetric="cpu"),
        good=scaled("keda", autoScaling=CPU),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled("keda", autoScaling=metric("External", metric=QUERY, target={"type": "Value"})),
        good=scaled("keda", autoScaling=metric("External", metric=QUERY, target={"value": "1"})),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled(
            "keda",
            autoScaling=metric(
                "Resource", name="memory", target={"type": "AverageValue", "averageValue": "1k"}
            ),
        ),
        good=scaled(
            "keda",
            autoScaling=metric(
                "Resource", name="memory", target={"type": "AverageValue", "averageValue": "1Mi"}
            ),
        ),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled("keda", autoScaling=metric("Resource", name="cpu", target={"type": "Value"})),
        good=scaled("keda", autoScaling=CPU),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled("keda", autoScaling=metric("Resource", name="memory", target={"type": "Value"})),
        good=scaled(
            "keda", autoScaling=metric("Resource", name="memory", target={"type": "Utilization"})
        ),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled("keda", autoScaling={"metrics": [{"type": "External"}]}),
    ),
    Case(
        code="keda-metrics",
        mode=STANDARD,
        bad=scaled(
            "keda", autoScaling=metric("PodMetric", metric={"query": ""}, target={"value": "1"})
        ),
        good=scaled(
            "keda", autoScaling=metric("PodMetric", metric={"query": "q"}, target={"value": "1"})
        ),
    ),
    Case(
        code="standard-max-replicas",
        mode=STANDARD,
        bad=predictor(scaleTarget=80),
        good=predictor(scaleTarget=80, maxReplicas=4),
    ),
    Case(
        code="standard-max-replicas",
        mode=STANDARD,
        bad=predictor(scaleTarget=80),
        good=predictor(scaleTarget=80),
        good_mode=KNATIVE,
    ),
    Case(
        code="standard-scale-to-zero",
        mode=STANDARD,
        bad=predictor(minReplicas=0),
        good=predictor(minReplicas=0),
        good_mode=KNATIVE,
    ),
    Case(
        code="standard-scale-metric",
        mode=STANDARD,
        bad=predictor(scaleMetric="rps", maxReplicas=3),
        good=predictor(scaleMetric="cpu", maxReplicas=3),
    ),
    Case(
        code="standard-concurrency",
        mode=STANDARD,
        bad=predictor(containerConcurrency=4),
        good=predictor(containerConcurrency=4),
        good_mode=KNATIVE,
    ),
    Case(
        code="knative-autoscaling",
        bad=predictor(autoScaling=CPU),
        good=predictor(autoScaling=CPU, maxReplicas=3),
        good_mode=STANDARD,
    ),
    Case(
        code="knative-autoscaling",
        bad=annotated(CLASS, "keda"),
        good=annotated(CLASS, "keda"),
        good_mode=STANDARD,
    ),
    Case(
        code="standard-knative-annotation",
        mode=STANDARD,
        bad=annotated("autoscaling.knative.dev/target", "1"),
        good=annotated("autoscaling.knative.dev/target", "1"),
        good_mode=KNATIVE,
    ),
    Case(
        code="canary-percent-ignored",
        mode=STANDARD,
        bad=predictor(canaryTrafficPercent=10),
        good=predictor(canaryTrafficPercent=10),
        good_mode=KNATIVE,
    ),
    Case(
        code="canary-percent-ignored",
        mode=STANDARD,
        version=V21,
        bad=predictor(canaryTrafficPercent=0),
    ),
    Case(
        code="canary-percent-range",
        bad=predictor(canaryTrafficPercent=150),
        good=predictor(canaryTrafficPercent=100),
    ),
    Case(
        code="canary-percent-range",
        bad=predictor(canaryTrafficPercent=-5),
        good=predictor(canaryTrafficPercent=0),
    ),
    Case(
        code="canary-percent-twice",
        bad={
            "spec": {
                "predictor": {"canaryTrafficPercent": 10},
                "transformer": {"canaryTrafficPercent": 10, "containers": [{"name": "c"}]},
            }
        },
        good=predictor(canaryTrafficPercent=10),
    ),
    Case(code="canary-mode", bad=canaries(canary()), good=canaries(canary()), good_mode=STANDARD),
    Case(
        code="canary-stable-model",
        mode=STANDARD,
        bad=canaries(canary(), model=NOTHING, containers=[{"name": "kserve-container"}]),
        good=canaries(canary()),
    ),
    Case(
        code="canary-name", mode=STANDARD, bad=canaries(canary("")), good=canaries(canary("next"))
    ),
    Case(
        code="canary-name",
        mode=STANDARD,
        bad=canaries(canary("a"), canary("a")),
        good=canaries(canary("a"), canary("b")),
    ),
    Case(
        code="canary-name",
        mode=STANDARD,
        bad=canaries(canary("a"), name="a"),
        good=canaries(canary("a"), name="b"),
    ),
    Case(
        code="canary-sum",
        mode=STANDARD,
        bad=canaries(canary("a", 60), canary("b", 50)),
        good=canaries(canary("a", 50), canary("b", 50)),
    ),
    Case(
        code="canary-implementation",
        mode=STANDARD,
        bad=canaries({"trafficPercent": 1, "predictor": {"name": "next"}}),
        good=canaries(canary()),
    ),
    Case(
        code="canary-fixed-replicas",
        mode=STANDARD,
        bad=canaries(canary(maxReplicas=2)),
        good=canaries(canary(minReplicas=1)),
    ),
    Case(
        code="canary-worker",
        mode=STANDARD,
        bad=canaries(canary(workerSpec={})),
        good=canaries(canary()),
    ),
    Case(
        code="canary-replicas",
        mode=STANDARD,
        bad=canaries(canary(minReplicas=2)),
        good=canaries(canary(minReplicas=2), minReplicas=2),
    ),
    Case(
        code="canary-unrouted",
        mode=STANDARD,
        bad=canaries(canary()),
        good=canaries(canary()),
        good_version=V21,
    ),
    Case(code="canary-gateway", mode=STANDARD, version=V21, bad=canaries(canary())),
    Case(
        code="canary-transformer",
        mode=STANDARD,
        bad={
            "spec": {"canary": [canary()], "transformer": {"containers": [{"name": "c"}]}},
        },
        good=canaries(canary()),
    ),
    Case(
        code="schema-unknown-field",
        mode=STANDARD,
        version=V19,
        bad=canaries(canary()),
        good=canaries(canary()),
        good_version=V20,
    ),
    Case(
        code="schema-missing-field",
        mode=STANDARD,
        bad=canaries(canary(model={"modelFormat": {"name": "triton"}})),
        good=canaries(canary()),
    ),
    Case(
        code="schema-unknown-field",
        bad={"spec": {"tracing": {"sampler": "always_on"}}},
        good={"spec": {"tracing": {"sampler": "always_on"}}},
        good_version=V21,
    ),
    Case(
        code="mode-unknown",
        bad=annotated("serving.kserve.io/deploymentMode", "Raw"),
    ),
    Case(
        code="mode-unknown",
        version=V15,
        bad=annotated("serving.kserve.io/deploymentMode", "Standard"),
        good=annotated("serving.kserve.io/deploymentMode", "RawDeployment"),
    ),
    Case(
        code="mode-modelmesh",
        bad=annotated("serving.kserve.io/deploymentMode", "ModelMesh"),
    ),
    Case(code="mode-unstated", bad={"metadata": {"annotations": NOTHING}}),
    Case(
        code="mode-old-name",
        bad=annotated("serving.kserve.io/deploymentMode", "RawDeployment"),
        good=annotated("serving.kserve.io/deploymentMode", "RawDeployment"),
        good_version=V15,
    ),
    Case(code="predictor-rewritten", bad=predictor(model=NOTHING, triton={})),
    Case(
        code="triton-built-in",
        bad=model(runtime=NOTHING),
        good=model(runtime=NOTHING, runtimeVersion="25.08-py3"),
    ),
    Case(
        code="storage-scheme-new",
        version=V19,
        bad=model(storageUri="oci+native://r/m:1"),
        good=model(storageUri="oci+native://r/m:1"),
        good_version=V20,
    ),
    Case(
        code="storage-scheme",
        bad=model(storageUri="conch://m/1"),
        good=model(storageUri="hf://org/m"),
    ),
    Case(
        code="storage-oci-switch",
        bad=model(storageUri="oci://r/m:1"),
        good=model(storageUri="gs://r/m"),
    ),
    Case(
        code="standard-annotation",
        mode=STANDARD,
        bad=annotated("serving.kserve.io/enable-tag-routing", "true"),
        good=annotated("serving.kserve.io/enable-tag-routing", "true"),
        good_mode=KNATIVE,
    ),
    Case(
        code="knative-feature",
        bad=predictor(nodeSelector={"gpu": "a"}),
        good=predictor(nodeSelector={"gpu": "a"}),
        good_mode=STANDARD,
    ),
    Case(
        code="graph-root",
        kind="InferenceGraph",
        bad=graph(root=NOTHING, first={"routerType": "Sequence", "steps": [{"serviceName": "a"}]}),
    ),
    Case(
        code="graph-target",
        kind="InferenceGraph",
        bad=graph(
            root={"routerType": "Sequence", "steps": [{"serviceName": "a", "serviceUrl": "b"}]}
        ),
    ),
    Case(
        code="graph-step-name",
        kind="InferenceGraph",
        bad=graph(
            root={
                "routerType": "Sequence",
                "steps": [{"serviceName": "a", "name": "x"}, {"serviceName": "b", "name": "x"}],
            }
        ),
    ),
    Case(
        code="graph-weights",
        kind="InferenceGraph",
        bad=splitter(60, 60),
        good=splitter(60, 40),
    ),
    Case(
        code="graph-weights",
        kind="InferenceGraph",
        bad=splitter(60, None),
        good=splitter(100),
    ),
    Case(
        code="graph-missing-node",
        kind="InferenceGraph",
        bad=graph(root={"routerType": "Sequence", "steps": [{"nodeName": "x"}]}),
        good=graph(
            root={"routerType": "Sequence", "steps": [{"nodeName": "x"}]},
            x={"routerType": "Sequence", "steps": [{"serviceName": "a"}]},
        ),
    ),
    Case(
        code="graph-cycle",
        kind="InferenceGraph",
        bad=graph(
            root={"routerType": "Sequence", "steps": [{"nodeName": "x"}]},
            x={"routerType": "Sequence", "steps": [{"nodeName": "root"}]},
        ),
        good=graph(
            root={"routerType": "Sequence", "steps": [{"nodeName": "x"}, {"nodeName": "x"}]},
            x={"routerType": "Sequence", "steps": [{"serviceName": "a"}]},
        ),
    ),
    Case(
        code="runtime-priority",
        kind="ServingRuntime",
        bad={
            "spec": {
                "supportedModelFormats": [
                    {"name": "onnx", "version": "1", "autoSelect": True, "priority": 1},
                    {"name": "onnx", "version": "2", "autoSelect": True, "priority": 2},
                ]
            }
        },
    ),
    Case(
        code="runtime-worker-containers",
        kind="ServingRuntime",
        bad={"spec": {"workerSpec": {"containers": [{"name": "a"}, {"name": "b"}]}}},
        good={"spec": {"workerSpec": {"containers": [{"name": "a"}]}}},
    ),
    Case(
        code="runtime-worker-sizes",
        kind="ServingRuntime",
        bad={"spec": {"workerSpec": {"containers": [{"name": "a"}], "tensorParallelSize": 0}}},
        good={"spec": {"workerSpec": {"containers": [{"name": "a"}], "tensorParallelSize": 1}}},
    ),
    Case(
        code="runtime-worker-env",
        kind="ServingRuntime",
        bad={
            "spec": {
                "workerSpec": {"containers": [{"name": "a"}]},
                "containers": [{"name": "c", "env": [{"name": "TENSOR_PARALLEL_SIZE"}]}],
            }
        },
        good={
            "spec": {"containers": [{"name": "c", "env": [{"name": "TENSOR_PARALLEL_SIZE"}]}]},
        },
    ),
    Case(
        code="trained-model-name",
        kind="TrainedModel",
        bad={"metadata": {"name": "a.b"}},
        good={"metadata": {"name": "A_b"}},
    ),
    Case(
        code="trained-model-storage",
        kind="TrainedModel",
        bad={"spec": {"model": {"storageUri": "pvc://claim/m"}}},
    ),
]
EVERY_CODE = [
    *DOCUMENT_CODES,
    *(rule.code for rule in RULES),
    *(rule.code for rule in UPDATE_RULES),
]
ALWAYS = {"trained-model-leaving": "TrainedModel"}
"""Notes that stand on every object of a kind, so that no clean case exists."""

UPDATES = [
    Case(
        code="update-mode",
        bad=annotated("serving.kserve.io/deploymentMode", "Standard"),
        good=annotated("serving.kserve.io/deploymentMode", "Knative"),
    ),
    Case(
        code="update-predictor-name",
        bad=predictor(name="next"),
        good=predictor(name="next", model={"storageUri": "s3://models/two"}),
    ),
    Case(
        code="update-predictor-name",
        bad=predictor(name="next"),
        good=predictor(name="next"),
        good_version=V19,
    ),
    Case(
        code="update-memory",
        kind="TrainedModel",
        bad={"spec": {"model": {"memory": "2Gi"}}},
        good={"spec": {"model": {"memory": "1024Mi"}}},
    ),
    Case(
        code="update-new-revision",
        bad=predictor(maxReplicas=5),
        good=predictor(maxReplicas=5),
        good_mode=STANDARD,
    ),
    Case(
        code="update-canary-jump",
        bad=predictor(canaryTrafficPercent=20, model={"storageUri": "s3://models/two"}),
        good=predictor(canaryTrafficPercent=0, model={"storageUri": "s3://models/two"}),
    ),
    Case(
        code="update-canary-jump",
        bad=predictor(canaryTrafficPercent=20, model={"storageUri": "s3://models/two"}),
        good=predictor(canaryTrafficPercent=20),
    ),
    Case(
        code="document-other-object",
        bad={"metadata": {"name": "another"}},
        good={},
    ),
]


def codes(case: Case, change: Change, version: KServeVersion, mode: DeploymentMode) -> set[str]:
    text = as_text(manifest(case.kind, change, version=version, mode=mode))
    return {f.code for f in lint_documents(text, kserve_version=version, mode=mode)}


def update_codes(
    case: Case, change: Change, version: KServeVersion, mode: DeploymentMode
) -> set[str]:
    old, new = (
        as_text(manifest(case.kind, each, version=version, mode=mode)) for each in ({}, change)
    )
    return {f.code for f in lint_update(old, new, kserve_version=version, mode=mode)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_rule_speaks_on_its_case_and_is_silent_on_a_clean_one(case: Case) -> None:
    """Each code stands for the smallest manifest that breaks it, and for nothing close to it."""
    assert case.code in codes(case, case.bad, case.version, case.mode)
    good_version, good_mode = case.good_version or case.version, case.good_mode or case.mode
    assert case.code not in codes(case, case.good, good_version, good_mode)


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.code)
def test_an_update_rule_speaks_on_its_step_and_is_silent_on_a_clean_one(case: Case) -> None:
    """Each update code stands for the smallest step that breaks it, and for nothing close to it."""
    assert case.code in update_codes(case, case.bad, case.version, case.mode)
    good_version, good_mode = case.good_version or case.version, case.good_mode or case.mode
    assert case.code not in update_codes(case, case.good, good_version, good_mode)


@pytest.mark.parametrize("code", ALWAYS)
def test_a_note_on_every_object_of_a_kind(code: str) -> None:
    """Some notes belong to a kind as such."""
    case = Case(code=code, kind=ALWAYS[code], bad={})
    assert code in codes(case, {}, V20, KNATIVE)


def test_removing_a_worker_is_refused() -> None:
    """A runtime that has workers cannot lose them in an update."""
    old, new = (
        as_text(manifest("ServingRuntime", change, version=V20, mode=STANDARD))
        for change in ({"spec": {"workerSpec": {"containers": [{"name": "w"}]}}}, {})
    )
    found = lint_update(old, new, kserve_version=V20, mode=STANDARD)
    assert [f.code for f in found] == ["update-worker"]


def test_a_repeated_key_is_found_with_its_line() -> None:
    """YAML's last-key-wins is an error here, at the line of the second key."""
    text = as_text(manifest("InferenceService", {}, version=V20, mode=KNATIVE))
    text = text.replace('"kind"', '"apiVersion": "serving.kserve.io/v1beta1",\n "kind"', 1)
    found = [
        f
        for f in lint_documents(text, kserve_version=V20, mode=KNATIVE)
        if f.code == "document-repeated-key"
    ]
    assert [(f.path, f.severity) for f in found] == [("apiVersion", Severity.ERROR)]
    assert text.splitlines()[found[0].line - 1].strip().startswith('"apiVersion"')


def test_every_code_has_a_case() -> None:
    """No code exists without a manifest that shows it."""
    known = set(EVERY_CODE)
    shown = {case.code for case in (*CASES, *UPDATES)} | ALWAYS.keys()
    assert known - shown == {"update-worker", "document-repeated-key"}
    assert shown <= known


def test_codes_are_unique() -> None:
    """One code, one rule."""
    assert len(set(EVERY_CODE)) == len(EVERY_CODE)


@pytest.mark.parametrize("version", list(KServeVersion))
@pytest.mark.parametrize("mode", list(DeploymentMode))
def test_a_clean_object_is_clean_in_every_version(
    version: KServeVersion, mode: DeploymentMode
) -> None:
    """The clean objects of the table carry no error and no warning anywhere."""
    bodies = [
        manifest(kind, {}, version=version, mode=mode)
        for kind in ("InferenceService", "InferenceGraph", "ServingRuntime", "TrainedModel")
    ]
    found = lint_documents(as_text(*bodies), kserve_version=version, mode=mode)
    assert [f.code for f in found if f.severity is not Severity.NOTE] == []
