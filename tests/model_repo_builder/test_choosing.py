"""What serves is the first variant of the plan, unless another is clearly faster."""

from __future__ import annotations

import pytest

from conch.core import ModelFormat, Pin, Precision, ServingSpec
from conch.model_repo_builder.choosing import MARGIN, choose, speedup, table
from conch.model_repo_builder.planning import Candidate, plans, unwanted

ONNX, IR = "onnx:fp32", "openvino:fp32"
BASE = {1: 100.0, 8: 200.0, 64: 900.0}


@pytest.mark.parametrize(
    ("ir", "serves"),
    [
        pytest.param({1: 50.0, 8: 100.0, 64: 450.0}, IR, id="twice as fast"),
        pytest.param({1: 99.0, 8: 198.0, 64: 891.0}, ONNX, id="one percent: noise"),
        pytest.param({1: 100.0, 8: 200.0, 64: 900.0}, ONNX, id="a tie"),
        pytest.param({1: 200.0, 8: 50.0, 64: 100.0}, ONNX, id="faster, yet slow for one row"),
        pytest.param({1: 200.0, 8: 400.0, 64: 1800.0}, ONNX, id="slower"),
        pytest.param({1: 110.0, 8: 100.0, 64: 450.0}, IR, id="slower by less than the margin"),
    ],
)
def test_only_a_clear_gain_changes_what_serves(ir: dict[int, float], serves: str) -> None:
    """Neither noise, nor a gain at one batch size that costs at another."""
    chosen = choose({ONNX: BASE, IR: ir}, order=[ONNX, IR])
    assert chosen.name == serves
    assert (speedup(BASE, ir) >= 1 + MARGIN) or serves == ONNX


def test_the_table_says_how_much_faster_than_the_unoptimised_one() -> None:
    """Every row is measured against the first of the plan, the source's too."""
    times = {
        ONNX: BASE,
        IR: {1: 50.0, 8: 100.0, 64: 450.0},
        "source": {1: 200.0, 8: 400.0, 64: 1800.0},
    }
    rows = table(times, choose(times, order=[ONNX, IR]), against=ONNX)
    assert [(row["name"], row["speedup"], row["serves"]) for row in rows] == [
        (ONNX, 1.0, False),
        (IR, 2.0, True),
        ("source", 0.5, False),
    ]


def test_a_pin_leaves_only_what_it_allows() -> None:
    """Pinned, the others are not even candidates, however fast they are."""
    times = {ONNX: BASE, IR: {1: 500.0, 8: 500.0, 64: 500.0}}
    assert choose(times, order=[IR]).name == IR
    assert Pin.parse("openvino").allows(ModelFormat.OPENVINO, Precision.INT8)
    assert not Pin.parse("openvino:int8").allows(ModelFormat.OPENVINO, Precision.FP32)


class _Any:
    """A format of any name, for the plan alone."""

    def __init__(self, name: ModelFormat) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("spec", "name", "precision", "proven", "tried"),
    [
        pytest.param(ServingSpec(), "openvino", "fp32", True, True, id="exact by default"),
        pytest.param(ServingSpec(), "openvino", "int8", True, False, id="lossy not by default"),
        pytest.param(ServingSpec(lossy=True), "openvino", "int8", True, True, id="lossy allowed"),
        pytest.param(
            ServingSpec(precision=Precision.INT8), "openvino", "int8", True, True, id="lossy pinned"
        ),
        pytest.param(
            ServingSpec(format=ModelFormat.ONNX), "openvino", "fp32", True, False, id="other pinned"
        ),
        pytest.param(
            ServingSpec(format=ModelFormat.OPENVINO), "onnx", "fp32", False, True, id="the start"
        ),
    ],
)
def test_policy_decides_what_is_tried(
    spec: ServingSpec, name: str, precision: str, proven: bool, tried: bool
) -> None:
    """Digits are given up only where a tag says so; what OpenVINO starts from is always made."""
    candidate = Candidate(format=_Any(ModelFormat(name)), precision=Precision(precision))  # type: ignore[arg-type]
    assert (unwanted(candidate, spec, proven=proven) == "") is tried


def test_last_resorts_wait() -> None:
    """A format of last resort is tried where nothing was proven, or where it is asked for."""
    for profile, plan in plans().items():
        assert plan[0].name == ONNX, profile
    last = Candidate(format=_Any(ModelFormat.PYTHON), last_resort=True)  # type: ignore[arg-type]
    assert unwanted(last, ServingSpec(), proven=True)
    assert not unwanted(last, ServingSpec(), proven=False)
    assert not unwanted(last, ServingSpec(format=ModelFormat.PYTHON), proven=True)
