"""The linter speaks about any object at all; it never fails on one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kserve_manifests import as_text, manifest
from kserve_profiles import KNATIVE, ON_CPU, STANDARD, TWO

from conch.kserve import DeploymentMode, KServeVersion, lint_documents, lint_update, manifests

BODIES = [
    *(
        manifest(kind, {}, version=KServeVersion.V0_20, mode=DeploymentMode.STANDARD)
        for kind in ("InferenceService", "InferenceGraph", "ServingRuntime", "TrainedModel")
    ),
    manifests(KNATIVE, ON_CPU)["inference-service-b.yaml"],
    manifests(STANDARD, TWO)["inference-service-a.yaml"],
    manifests(STANDARD, TWO)["serving-runtime.yaml"],
]
NAMES = st.sampled_from(
    [
        "annotations",
        "autoScaling",
        "canary",
        "containers",
        "env",
        "logger",
        "metrics",
        "model",
        "name",
        "nodes",
        "predictor",
        "scaleTarget",
        "spec",
        "storageUris",
        "supportedModelFormats",
        "transformer",
        "workerSpec",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | NAMES
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)


def inner_objects(value: Any) -> list[dict[str, Any]]:
    """Return a body and every object within it."""
    own = [value] if isinstance(value, dict) else []
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return []
    return [*own, *(found for child in children for found in inner_objects(child))]


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an object with junk somewhere, its kind and apiVersion kept."""
    body: dict[str, Any] = deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(inner_objects(body)))
        name = draw(st.sampled_from(sorted({*place, "spec"})) | NAMES)
        if name not in ("kind", "apiVersion"):
            place[name] = draw(JUNK)
    return body


@given(
    old=bodies(),
    new=bodies(),
    version=st.sampled_from(KServeVersion),
    mode=st.sampled_from(DeploymentMode),
)
@settings(max_examples=200, deadline=None)
def test_any_object_is_linted(
    old: dict[str, Any], new: dict[str, Any], version: KServeVersion, mode: DeploymentMode
) -> None:
    """Junk of any type at any place yields findings, each with a line of the text."""
    old["metadata"] = new["metadata"]
    text = as_text(new)
    found = lint_documents(text, kserve_version=version, mode=mode)
    found += lint_update(as_text(old), text, kserve_version=version, mode=mode)
    assert all(1 <= finding.line <= len(text.splitlines()) for finding in found)
