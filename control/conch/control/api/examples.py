"""Example answers of the API, shown in its description; tests check them against the schemas."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

_AT: Final = "2026-03-01T12:00:00Z"
_VERSION_ID: Final = "6f0d1c0e-8d5b-4a57-9d4a-0b9f3c1b7a21"
_BUILD_ID: Final = "b1f0a4be-30c7-4a0f-8b2e-7d1b5f3e9c02"
_OLD_BUILD_ID: Final = "0a7e52d1-9a1f-4b4c-8f43-2f6f4c0d8e11"
_RELEASE_ID: Final = "c2a9d3f4-5b6c-4d7e-8f90-a1b2c3d4e5f6"
_EXPERIMENT_ID: Final = "06ed1738-9fa0-4b12-93d4-e5f607182930"
_DEPLOYMENT_ID: Final = "d3bae405-6c7d-4e8f-90a1-b2c3d4e5f607"
_MODEL_ID: Final = "e4cbf516-7d8e-4f90-a1b2-c3d4e5f60718"

_SIGNATURE: Final = {
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [64], "optional": False}],
    "outputs": [{"name": "y", "dtype": "FP32", "shape": [10], "optional": False}],
    "batched": True,
}

JOB: Final[dict[str, Any]] = {
    "id": "f5dc0627-8e9f-4a01-b2c3-d4e5f6071829",
    "kind": "build",
    "subject": _VERSION_ID,
    "label": "build digits version 2",
    "status": "running",
    "progress": 0.6,
    "message": "comparing answers at batch size 8",
    "attempts": 1,
    "cancel_requested": False,
    "outcome": None,
    "created_at": _AT,
    "started_at": _AT,
    "finished_at": None,
}

MODEL: Final[dict[str, Any]] = {
    "id": _MODEL_ID,
    "name": "digits",
    "triton_name": "digits",
    "tags": {"team": "vision"},
    "created_at": _AT,
    "versions": 2,
    "latest_version": 2,
    "live_version": 1,
    "live_semantic_version": "1.0.0",
    "status": "releasing",
    "endpoint_url": "http://127.0.0.1:8080/v2/models/digits",
}

VERSION: Final[dict[str, Any]] = {
    "id": _VERSION_ID,
    "name": "digits",
    "version": 2,
    "semantic_version": "1.0.1",
    "ordinal": 2,
    "framework": "pytorch",
    "model_path": "models:/m-6c1f8a",
    "model_size": 21480,
    "accuracy_metrics": {"accuracy": 0.962},
    "deployment_config": {"max_batch_size": 32},
    "created_at": _AT,
    "created_by": "ada",
    "tags": {"triton.max_batch_size": "32"},
    "aliases": ["champion"],
    "status": "verified",
    "reason": None,
    "live": False,
    "slot": "b",
    "serving": "ready",
    "present": True,
    "taken_up": True,
    "build_id": _BUILD_ID,
    "signature": _SIGNATURE,
    "job": None,
}

BUILD: Final[dict[str, Any]] = {
    "id": _BUILD_ID,
    "model_name": "digits",
    "version": 2,
    "ordinal": 2,
    "status": "verified",
    "semantic_version": "1.0.1",
    "path": "/home/ada/.conch/builds/digits/2",
    "digest": "9f" * 32,
    "graph_digest": "1c" * 32,
    "manifest": {"signature": _SIGNATURE, "max_batch_size": 32},
    "reason": None,
    "created_at": _AT,
    "finished_at": _AT,
    "report": {
        "steps": [{"name": "torch-export", "taken": True, "reason": "a torch.export program"}],
        "verification": {
            "rows": 73,
            "cases": ["normal-1", "mixed-64"],
            "batch_sizes": [1, 7, 64],
            "strong": True,
            "outputs": [{"name": "y", "dtype": "FP32", "max_abs": 4.8e-7, "mismatches": 0}],
        },
    },
}

BUILD_LISTED: Final[dict[str, Any]] = {**BUILD, "report": None}

DEPLOYMENT: Final[dict[str, Any]] = {
    "id": _DEPLOYMENT_ID,
    "model_id": _MODEL_ID,
    "model_name": "digits",
    "deployment_name": "digits-local",
    "environment": "local",
    "replica_count": 1,
    "resource_config": {},
    "status": "releasing",
    "endpoint_url": "http://127.0.0.1:8080/v2/models/digits",
    "live_version": 1,
    "live_semantic_version": "1.0.0",
    "arms": [
        {
            "slot": "b",
            "version": 2,
            "ordinal": 2,
            "build_id": _BUILD_ID,
            "weight": 10.0,
            "baked": False,
        },
        {
            "slot": "a",
            "version": 1,
            "ordinal": 1,
            "build_id": _OLD_BUILD_ID,
            "weight": 90.0,
            "baked": True,
        },
    ],
    "created_at": _AT,
}

RELEASE: Final[dict[str, Any]] = {
    "id": _RELEASE_ID,
    "model_name": "digits",
    "deployment_id": _DEPLOYMENT_ID,
    "candidate_version": 2,
    "candidate_build_id": _BUILD_ID,
    "baseline_version": 1,
    "baseline_build_id": _OLD_BUILD_ID,
    "status": "running",
    "weight": 10.0,
    "bake_s": 3600,
    "created_by": "administrator",
    "note": "retrained on March",
    "reason": None,
    "plan": None,
    "plan_body": None,
    "plan_digest": "",
    "paused": False,
    "hold": None,
    "stages": [
        {
            "number": 0,
            "step": 0,
            "weight": 10.0,
            "control_weight": None,
            "started_at": _AT,
            "ended_at": None,
        }
    ],
    "created_at": _AT,
    "finished_at": None,
    "job": None,
}

DECISION: Final[dict[str, Any]] = {
    "number": 7,
    "at": _AT,
    "status": "rolled-back",
    "action": "roll-back",
    "code": "harm-proven",
    "message": "Error-rate: harmed: evidence for 'worse' (ratio against 1) is e = 181 of 20.",
    "weight": 0.0,
    "actor": "",
    "plan_digest": "4b" * 32,
    "record": None,
    "shadow": None,
}

PREDICTION: Final[dict[str, Any]] = {
    "prediction": [[0.01, 0.98, 0.01]],
    "outputs": {"y": [[0.01, 0.98, 0.01]]},
    "model_name": "digits",
    "model_version": 2,
    "semantic_version": "1.0.1",
    "build_id": _BUILD_ID,
    "prediction_id": "0195519e-7c00-7cc3-98c4-dc0c0c07398f",
    "latency_ms": 1.9,
}

PLATFORM: Final[dict[str, Any]] = {
    "environment": "local",
    "inference_url": "http://127.0.0.1:8080",
    "mlflow_url": "http://127.0.0.1:5000",
    "swept_at": _AT,
    "sweep_age_s": 3.2,
    "counts": {
        "models": 1,
        "versions": 2,
        "live": 1,
        "refused": 0,
        "open_releases": 1,
        "open_jobs": 0,
    },
    "target": {
        "inference_url": "http://127.0.0.1:8080",
        "gateway_ready": True,
        "servers": [],
        "routes": {},
    },
    "problem": None,
}


MLFLOW: Final[dict[str, Any]] = {
    "mlflow_url": "http://127.0.0.1:5000",
    "swept_at": _AT,
    "webhook_url": "http://127.0.0.1:8090/v1/hooks/mlflow",
    "webhooks": "auto",
    "kept": True,
    "kept_at": _AT,
    "problem": None,
    "deliveries": 2,
    "last_delivery_at": _AT,
}

DIFF: Final[dict[str, Any]] = {
    "model": "digits",
    "old": 1,
    "new": 2,
    "status": ["verified", "verified"],
    "signature": {"same": True, "breaks_callers": False, "changes": []},
    "semantic_version": {
        "old": "1.0.0",
        "new": "1.0.1",
        "follows": "1.0.1",
        "because": "only weights changed",
    },
    "parameters": {
        "old_count": 4810,
        "new_count": 4810,
        "old_tensors": 4,
        "new_tensors": 4,
        "added": [],
        "removed": [],
        "reshaped": [],
        "changed": ["net.0.weight", "net.0.bias"],
    },
    "data": {
        "params": [{"name": "epochs", "old": "5", "new": "8"}],
        "datasets": [{"name": "digits (training)", "old": "3f2a91c0", "new": "77b0e4d1"}],
    },
    "metrics": [{"name": "accuracy", "old": 0.951, "new": 0.962, "change": 0.011}],
    "size_bytes": {"old": 21480, "new": 21480},
    "latency_us": {
        "old": {"variant": "onnx:fp32", "times_us": {"1": 11.2, "64": 48.0}},
        "new": {"variant": "onnx:fp32", "times_us": {"1": 11.0, "64": 47.5}},
    },
    "verification": {
        "old": {
            "rows": 412,
            "strong": True,
            "weaknesses": [],
            "largest_difference": 4.8e-7,
            "label_agreement": 1.0,
        },
        "new": {
            "rows": 412,
            "strong": True,
            "weaknesses": [],
            "largest_difference": 5.1e-7,
            "label_agreement": 1.0,
        },
    },
}

EXPERIMENT: Final[dict[str, Any]] = {
    "id": _EXPERIMENT_ID,
    "model_name": "digits",
    "deployment_id": _DEPLOYMENT_ID,
    "name": "which recommender sells more",
    "status": "running",
    "arms": [
        {
            "role": "control",
            "version": 1,
            "ordinal": 1,
            "build_id": _OLD_BUILD_ID,
            "weight": 50.0,
            "slot": "a",
            "serving": "ready",
        },
        {
            "role": "treatment",
            "version": 2,
            "ordinal": 2,
            "build_id": _BUILD_ID,
            "weight": 50.0,
            "slot": "b",
            "serving": "ready",
        },
    ],
    "plan_body": {"name": "experiment"},
    "plan_digest": "4b" * 32,
    "hold": None,
    "outcome": None,
    "created_by": "administrator",
    "note": "",
    "created_at": _AT,
    "started_at": _AT,
    "finished_at": None,
}

FINDING: Final[dict[str, Any]] = {
    "number": 2,
    "at": _AT,
    "action": "stay",
    "code": "comparing",
    "message": "Version 2 of 'digits': purchase: not shown to be better yet.",
    "actor": "",
    "records": None,
}

ANSWERS: Final[dict[str, Any]] = {
    "job": JOB,
    "jobs": [JOB],
    "job asked to end": {**JOB, "cancel_requested": True},
    "model": MODEL,
    "models": [MODEL],
    "version": VERSION,
    "versions": [VERSION],
    "version being built": {**VERSION, "status": "building", "job": JOB},
    "diff": DIFF,
    "build": BUILD,
    "builds": [BUILD_LISTED],
    "plans": [{"name": "hot", "body": {"name": "hot", "flip": True}}],
    "build report": {"verification": {"rows": 321, "strong": True}, "steps": []},
    "deployment": DEPLOYMENT,
    "deployments": [DEPLOYMENT],
    "release": RELEASE,
    "releases": [RELEASE],
    "release being prepared": {**RELEASE, "status": "preparing"},
    "decisions": [DECISION],
    "experiment": EXPERIMENT,
    "experiments": [EXPERIMENT],
    "experiment being prepared": {**EXPERIMENT, "status": "preparing", "started_at": None},
    "findings": [FINDING],
    "arm metrics": [
        {
            "version": 2,
            "ordinal": 2,
            "slot": "b",
            "weight": 10.0,
            "readings": {
                "queue_ms": {"value": 0.4, "covered_s": 110.0, "trouble": None, "because": ""}
            },
        }
    ],
    "experiment results": [
        {
            "version": 2,
            "build_id": _BUILD_ID,
            "action": "inconclusive",
            "checks": [{"name": "sample-ratio", "passed": True}],
            "results": [{"metric": "purchase", "estimate": 0.04, "verdict": "inconclusive"}],
        }
    ],
    "prediction": PREDICTION,
    "platform": PLATFORM,
    "mlflow": MLFLOW,
}
"""Every example by its name."""


def answers(name: str, status: HTTPStatus = HTTPStatus.OK) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` entry that stands for an example until it is put in by name."""
    assert name in ANSWERS
    return {status.value: {"content": {"application/json": {"example": name}}}}
