"""Two versions side by side: what differs, and which version follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conch.control.reading.version_diffs import Side, version_diff
from conch.core import DType, Signature, TensorSpec

X = TensorSpec(name="x", dtype=DType.FP32, shape=(4,))
Y = TensorSpec(name="y", dtype=DType.FP32, shape=(2,))
Z = TensorSpec(name="z", dtype=DType.INT64, shape=(1,))


def tensor(shape: list[int], digest: str = "aa") -> dict[str, Any]:
    return {"dtype": "float32", "shape": shape, "digest": digest}


OLD = Side(
    version=1,
    status="verified",
    semantic_version="1.2.3",
    signature=Signature(inputs=(X,), outputs=(Y,)),
    graph_digest="g",
    weights={"w": tensor([4, 2]), "b": tensor([2])},
    metrics={"accuracy": 0.9, "loss": 0.4},
    params={"epochs": "5", "lr": "0.1"},
    datasets=({"name": "digits", "digest": "d1", "context": "training"},),
    size_bytes=100,
    variants=({"name": "onnx:fp32", "times_us": {"1": 10.0}, "serves": True},),
    report={
        "rows": 400,
        "strong": True,
        "weaknesses": [],
        "outputs": [{"max_abs": 1e-7, "label_agreement": 1.0}],
    },
)


def test_only_what_differs_is_listed() -> None:
    """Equal metrics, parameters and tensors are left out; counts and changes are there."""
    new = replace(
        OLD,
        version=2,
        weights={"w": tensor([4, 2], "bb"), "b": tensor([2])},
        metrics={"accuracy": 0.95, "loss": 0.4},
        params={"epochs": "8", "lr": "0.1"},
        datasets=({"name": "digits", "digest": "d2", "context": "training"},),
    )
    found = version_diff(OLD, new)
    assert found["signature"] == {"same": True, "breaks_callers": False, "changes": []}
    assert found["parameters"]["changed"] == ["w"]
    assert found["parameters"]["old_count"] == found["parameters"]["new_count"] == 10
    assert found["data"]["params"] == [{"name": "epochs", "old": "5", "new": "8"}]
    assert found["data"]["datasets"] == [{"name": "digits (training)", "old": "d1", "new": "d2"}]
    (metric,) = found["metrics"]
    assert (metric["name"], metric["change"]) == ("accuracy", pytest.approx(0.05))
    assert found["latency_us"]["new"] == {"variant": "onnx:fp32", "times_us": {"1": 10.0}}
    assert found["verification"]["old"]["largest_difference"] == 1e-7


@pytest.mark.parametrize(
    ("change", "follows", "because"),
    [
        pytest.param({}, "1.2.4", "only weights changed", id="weights"),
        pytest.param({"graph_digest": "h"}, "1.3.0", "the graph is another", id="graph"),
        pytest.param(
            {"signature": Signature(inputs=(X,), outputs=(Y, Z))},
            "1.3.0",
            "the signature only gained something",
            id="more-outputs",
        ),
        pytest.param(
            {"signature": Signature(inputs=(X,), outputs=(Z,))},
            "2.0.0",
            "callers of the old version could break",
            id="output-gone",
        ),
    ],
)
def test_the_semantic_version_that_follows_is_named(
    change: dict[str, Any], follows: str, because: str
) -> None:
    """From the signature and the graph, with the reason."""
    found = version_diff(OLD, replace(OLD, version=2, **change))["semantic_version"]
    assert (found["follows"], found["because"]) == (follows, because)


def test_reshaped_and_new_tensors_are_told_apart() -> None:
    """A tensor of another shape is not one with other values."""
    weights = {"w": tensor([4, 3], "bb"), "c": tensor([1])}
    found = version_diff(OLD, replace(OLD, weights=weights))["parameters"]
    assert found["reshaped"] == [{"name": "w", "old": "float32 [4, 2]", "new": "float32 [4, 3]"}]
    assert (found["added"], found["removed"]) == (["c float32 [1]"], ["b float32 [2]"])
    assert found["changed"] == []


def test_what_a_side_does_not_say_is_null() -> None:
    """A version that was never built, of a run that is not known."""
    blank = Side(
        version=2,
        status="registered",
        semantic_version=None,
        signature=None,
        graph_digest="",
        weights=None,
    )
    found = version_diff(OLD, blank)
    assert found["signature"] is None
    assert found["parameters"] is None
    assert found["data"] == {"params": None, "datasets": None}
    assert found["semantic_version"]["follows"] is None
    assert found["verification"]["new"] is None
