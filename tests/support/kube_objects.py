"""Small objects for tests on a cluster."""

from __future__ import annotations

from typing import Any

OWN = {"app.kubernetes.io/managed-by": "conch", "app.kubernetes.io/part-of": "digits"}


def service(
    namespace: str, name: str = "digits", *, labels: dict[str, str] | None = None, **predictor: Any
) -> dict[str, Any]:
    """Return an InferenceService with predictor fields merged in."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or OWN)},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "triton"},
                    "name": "",
                    "runtime": "own",
                    "storageUri": "s3://models/one",
                },
                **predictor,
            }
        },
    }


def config_map(namespace: str, name: str = "notes", **data: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(OWN)},
        "data": data,
    }
