"""Small manifests for tests, made by merging a change over a clean object."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from conch.kserve.versions import MODE_ANNOTATION, DeploymentMode, KServeVersion

Change = dict[str, Any]

_CLEAN: dict[str, Change] = {
    "InferenceService": {
        "apiVersion": "serving.kserve.io/v1beta1",
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "triton"},
                    "runtime": "own",
                    "storageUri": "s3://models/one",
                }
            }
        },
    },
    "InferenceGraph": {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "spec": {
            "nodes": {
                "root": {"routerType": "Sequence", "steps": [{"serviceName": "a", "name": "one"}]}
            }
        },
    },
    "ServingRuntime": {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "spec": {
            "supportedModelFormats": [{"name": "triton", "version": "2", "autoSelect": False}],
            "containers": [{"name": "kserve-container", "image": "triton:1"}],
        },
    },
    "TrainedModel": {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "spec": {
            "inferenceService": "one",
            "model": {"framework": "onnx", "memory": "1Gi", "storageUri": "s3://models/one"},
        },
    },
}
NOTHING = object()
"""In a change: remove the field."""


def manifest(
    kind: str, change: Change, *, version: KServeVersion, mode: DeploymentMode
) -> dict[str, Any]:
    """Return a clean object of a kind with a change merged over it."""
    body = deepcopy(_CLEAN[kind])
    body["kind"] = kind
    body["metadata"] = {"name": "one"}
    if kind == "InferenceService":
        body["metadata"]["annotations"] = {MODE_ANNOTATION: mode.annotation(version)}
    merged: dict[str, Any] = _merged(body, change)
    return merged


def as_text(*bodies: dict[str, Any]) -> str:
    """Return objects as a YAML text; JSON is YAML."""
    return "\n---\n".join(json.dumps(body, indent=1) for body in bodies)


def _merged(body: Any, change: Any) -> Any:
    if not isinstance(body, dict) or not isinstance(change, dict):
        return change
    merged = {name: value for name, value in body.items() if change.get(name) is not NOTHING}
    for name, value in change.items():
        if value is not NOTHING:
            merged[name] = _merged(merged.get(name), value)
    return merged
