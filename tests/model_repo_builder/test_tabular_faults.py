"""Faults planted into converted tabular models are refused; those at a split by the split rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged_tables import RECIPES, log_table
from onnx import helper, numpy_helper

from conch.model_repo_builder import BuildRequest, UnverifiedError, build
from conch.model_repo_builder.converting import CONVERTERS, convert
from conch.model_repo_builder.loading import load_source
from conch.model_repo_builder.mlflow_models import read_mlflow_model
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.requests import RuntimeCaps
from conch.model_repo_builder.sources import SourceModel
from conch.model_repo_builder.split_rows import base_rows
from conch.model_repo_builder.tabular_models import TabularModel

Requests = Callable[..., BuildRequest]
Fault = Callable[[Any], None]


@dataclass(frozen=True)
class Faulty:
    """The real conversion, and a change to what it made."""

    fault: Fault
    name: str = "faulty"

    def refusal(self, source: SourceModel) -> str:
        return ""

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        model, _ = convert(source, caps=caps, converters=CONVERTERS)
        self.fault(model)
        return model


def constants(model: Any) -> Iterator[Any]:
    """Every constant tensor."""
    yield from model.graph.initializer
    yield from (n.attribute[0].t for n in model.graph.node if n.op_type == "Constant")


def scaler_off(model: Any) -> None:
    """Let a constant of the scaler be 1 % off."""
    for tensor in constants(model):
        array = numpy_helper.to_array(tensor)
        if array.size == 3 and array.dtype == np.float64:
            tensor.CopyFrom(numpy_helper.from_array(array * 1.01, tensor.name))
            return
    raise AssertionError("no constant of three columns")


def dropped(operator: str) -> Fault:
    """Let an operator do nothing."""

    def fault(model: Any) -> None:
        nodes = [node for node in model.graph.node if node.op_type == operator]
        assert nodes, f"there is no {operator}"
        for node in nodes:
            node.op_type = "Identity"
            del node.attribute[:]

    return fault


def classes_reversed(model: Any) -> None:
    """Turn the list of classes round."""
    gather = next(node for node in model.graph.node if node.op_type == "Gather")
    (constant,) = [node for node in model.graph.node if node.output[0] == gather.input[0]]
    tensor = constant.attribute[0].t
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(array[::-1].copy(), tensor.name))


def trees_node(model: Any) -> Any:
    (node,) = [node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor"]
    return node


def attribute(node: Any, name: str, value: Any) -> None:
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def thresholds_in_float32(model: Any) -> None:
    """What converters do by default: round every threshold to float32."""
    node = trees_node(model)
    (found,) = [item for item in node.attribute if item.name == "nodes_values_as_tensor"]
    array = numpy_helper.to_array(found.t)
    rounded = array.astype(np.float32).astype(np.float64)
    assert not np.array_equal(array, rounded)
    attribute(node, found.name, numpy_helper.from_array(rounded, found.t.name))


def other_comparison(model: Any) -> None:
    """`<` in the place of `<=`, or the other way round."""
    node = trees_node(model)
    (found,) = [item for item in node.attribute if item.name == "nodes_modes"]
    other = {b"BRANCH_LEQ": b"BRANCH_LT", b"BRANCH_LT": b"BRANCH_LEQ"}
    attribute(node, found.name, [other.get(mode, mode) for mode in found.strings])


def missing_elsewhere(model: Any) -> None:
    """Send NaN to the other side of every split."""
    node = trees_node(model)
    (found,) = [i for i in node.attribute if i.name == "nodes_missing_value_tracks_true"]
    attribute(node, found.name, [1 - side for side in found.ints])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param("scaled-logistic", scaler_off, id="scaler-constant"),
        pytest.param("columns-logistic", scaler_off, id="scaler-constant-of-columns"),
        pytest.param("xgboost", dropped("Softmax"), id="softmax-dropped"),
        pytest.param("lightgbm", dropped("Sigmoid"), id="sigmoid-dropped"),
        pytest.param("forest", classes_reversed, id="class-order-of-integers"),
        pytest.param("lightgbm", classes_reversed, id="class-order-of-text"),
        pytest.param("xgboost", missing_elsewhere, id="missing-values"),
    ],
)
def test_a_planted_fault_is_refused(
    name: str, fault: Fault, tmp_path: Path, request_for: Requests
) -> None:
    """No fault of these passes, and nothing is published."""
    source, _ = log_table(tmp_path / "model", RECIPES[name])
    request = request_for(source)
    with pytest.raises(UnverifiedError, match=r"output '(label|probabilities)' differs"):
        build(request, converters=(Faulty(fault),))
    assert not request.output.exists()


@pytest.mark.parametrize("name", ["histogram-regressor", "lightgbm", "lightgbm-booster"])
@pytest.mark.parametrize("fault", [thresholds_in_float32, other_comparison])
def test_a_fault_at_a_split_is_found_by_the_rows_beside_it(
    name: str, fault: Fault, tmp_path: Path, request_for: Requests
) -> None:
    """Rounding a threshold, or the wrong comparison, flips rows there and nowhere else."""
    source, _ = log_table(tmp_path / "model", RECIPES[name])
    with pytest.raises(UnverifiedError) as refusal:
        build(request_for(source), converters=(Faulty(fault),))
    outputs = refusal.value.details["report"]["outputs"]
    worst = [row["case"] for output in outputs for row in output["worst"] if row["excess"] != "0"]
    assert any(case.startswith("splits-") for case in worst)


@pytest.mark.parametrize("fault", [thresholds_in_float32, other_comparison])
def test_random_rows_do_not_find_a_fault_at_a_split(fault: Fault, tmp_path: Path) -> None:
    """Why rows are put there: 5,000 others, spread as the columns are, show nothing."""
    path, _ = log_table(tmp_path / "model", RECIPES["lightgbm-booster"])
    source = load_source(read_mlflow_model(path))
    assert isinstance(source, TabularModel)
    model, _ = convert(source, caps=RuntimeCaps())
    fault(model)
    session = OnnxSession(model.SerializeToString())
    rows = base_rows(source, 5000, np.random.default_rng(7))
    np.testing.assert_allclose(
        session.run(rows)["prediction"], source.run(rows)["prediction"], rtol=1e-5
    )


def test_a_scaler_in_float32_before_trees_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """Rows that stand beside a split of the scaled column take the other branch."""

    def fault(model: Any) -> None:
        for node in model.graph.node:
            if node.op_type == "Cast" and node.input[0] == "input":
                node.output[0] = "rounded_wide"
                narrow = helper.make_node("Cast", ["rounded_wide"], ["rounded"], to=1)
                wide = helper.make_node("Cast", ["rounded"], ["inner_input"], to=11)
                place = list(model.graph.node).index(node) + 1
                model.graph.node.insert(place, narrow)
                model.graph.node.insert(place + 1, wide)
                return
        raise AssertionError("the graph does not widen its input")

    recipe = RECIPES["scaled-forest"]
    wide = type(recipe)(
        make=recipe.make, rows=recipe.rows.astype(np.float64) * 1.1, answers=recipe.answers
    )
    source, _ = log_table(tmp_path / "model", wide)
    assert build(request_for(source)).strong
    with pytest.raises(UnverifiedError):
        build(request_for(source, ordinal=2), converters=(Faulty(fault),))


def test_what_a_common_converter_makes_of_histogram_boosting_is_refused(
    tmp_path: Path, request_for: Requests
) -> None:
    """skl2onnx (1.20) by itself writes its thresholds in float32, beside the trained ones."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    @dataclass(frozen=True)
    class Common:
        name: str = "common"

        def refusal(self, source: SourceModel) -> str:
            return ""

        def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
            model = skl2onnx.convert_sklearn(
                source.estimator,  # type: ignore[attr-defined]
                initial_types=[("input", FloatTensorType([None, 3]))],
                target_opset={"": 20, "ai.onnx.ml": 3},
            )
            model.graph.node[-1].output[0] = model.graph.output[0].name = "prediction"
            return model

    recipe = RECIPES["histogram-regressor"]
    narrow = type(recipe)(
        make=recipe.make, rows=recipe.rows.to_numpy(np.float32), answers=recipe.answers
    )
    source, _ = log_table(tmp_path / "model", narrow)
    assert build(request_for(source)).strong
    with pytest.raises(UnverifiedError, match="prediction"):
        build(request_for(source, ordinal=2), converters=(Common(),))
