"""What counts as a difference, and what the hash of an object's intent leaves out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from kube_objects import config_map, service

from conch.kserve.applying import differences, spec_hash, stamped
from conch.kserve.applying.ownership import HASH_ANNOTATION


def managed(manager: str, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


WANTED = service("models", minReplicas=1, nodeSelector={"gpu": "l4"})


@pytest.mark.parametrize(
    ("change", "managers", "said"),
    [
        (lambda predictor: None, [], []),
        (lambda predictor: predictor.update(maxReplicas=3), [], []),
        (lambda predictor: predictor["model"].update(protocolVersion="v2"), [], []),
        (
            lambda predictor: predictor.update(minReplicas=3),
            [managed("kubectl-edit", "Update", {"f:spec": {"f:predictor": {"f:minReplicas": {}}}})],
            ["~ spec.predictor.minReplicas: 3 -> 1  (set by kubectl-edit)"],
        ),
        (
            lambda predictor: predictor.pop("nodeSelector"),
            [],
            ['+ spec.predictor.nodeSelector: {"gpu": "l4"}'],
        ),
        (
            lambda predictor: predictor.update(timeout=60),
            [managed("conch", "Apply", {"f:spec": {"f:predictor": {"f:timeout": {}}}})],
            ["- spec.predictor.timeout: 60"],
        ),
        (
            lambda predictor: predictor.update(timeout=60),
            [managed("hpa", "Apply", {"f:spec": {"f:predictor": {"f:timeout": {}}}})],
            [],
        ),
    ],
    ids=["same", "default", "webhook", "edited", "removed", "withdrawn", "of-others"],
)
def test_differences(change: Any, managers: list[dict[str, Any]], said: list[str]) -> None:
    """Only what conch states, or stated, is compared; the line says who set it."""
    found = deepcopy(WANTED)
    change(found["spec"]["predictor"])
    found["metadata"]["managedFields"] = managers
    assert [str(each) for each in differences(WANTED, found)] == said


def test_an_inference_service_carries_no_stamp() -> None:
    """KServe copies annotations to pods: one that changes with a weight would restart them."""
    body = service("models", canaryTrafficPercent=10)
    assert stamped(body) == body


def test_stamping_changes_nothing_else_and_twice_is_once() -> None:
    """The stamp is one annotation; the given object stays as it was."""
    body = config_map("models", x="1")
    before = deepcopy(body)
    marked = stamped(body)
    assert body == before
    assert stamped(marked) == marked
    marked["metadata"].pop("annotations")
    assert marked == body
    assert spec_hash(body) != spec_hash(config_map("models", x="2"))
    assert HASH_ANNOTATION.startswith("conch.dev/")
