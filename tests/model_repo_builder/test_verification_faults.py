"""Each fault of a list, planted into a real conversion, is refused and named.

Named is the output, the row that differs most, and what the difference looks like.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from logged_tables import RECIPES, log_table
from onnx import TensorProto, helper, numpy_helper

from conch.core import DType, Ordinal, Precision, ServingSpec, TritonName
from conch.model_repo_builder import BuildRequest, UnverifiedError, VerificationReport
from conch.model_repo_builder.asking import Questions, ask
from conch.model_repo_builder.converting import convert
from conch.model_repo_builder.loading import load_source
from conch.model_repo_builder.mlflow_models import read_mlflow_model
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.requests import RuntimeCaps
from conch.model_repo_builder.signatures import coarsest_float
from conch.model_repo_builder.sources import Arrays
from conch.model_repo_builder.verifying import compare, refuse_unless_passed

Run = Callable[[Arrays], dict[str, np.ndarray]]


class Net(torch.nn.Module):
    """A scaled input, a convolution with a batch norm, and two heads of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.5))
        self.conv = torch.nn.Conv1d(1, 6, 3, padding=1)
        self.norm = torch.nn.BatchNorm1d(6)
        self.square = torch.nn.Linear(6, 6)
        self.classes = torch.nn.Linear(6, 4)
        self.scores = torch.nn.Linear(6, 4)
        self.train()
        for _ in range(3):
            self(torch.randn(32, 8))
        # A variance this small makes the epsilon of the batch norm count.
        self.norm.running_var.mul_(1e-3)
        self.eval()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.conv((x - self.mean)[:, None])
        hidden = torch.relu(self.norm(hidden)).mean(2)
        hidden = torch.relu(self.square(hidden))
        return {
            "classes": 3 * self.classes(hidden) - self.classes.bias,
            "probabilities": (2 * self.scores(hidden)).softmax(-1),
        }


@dataclass(frozen=True)
class Model:
    """A logged model with its conversion and its answers."""

    graph: Any
    questions: Questions
    coarsest: DType

    def judge(self, run: Run, precision: Precision = Precision.FP32) -> VerificationReport:
        return compare(
            self.questions.answered,
            run,
            coarsest=self.coarsest,
            seed=0,
            batch=self.questions.batch,
            precision=precision,
        )

    def refusal(self, run: Run, precision: Precision = Precision.FP32) -> UnverifiedError:
        with pytest.raises(UnverifiedError) as caught:
            refuse_unless_passed(self.judge(run, precision))
        return caught.value


def model_of(path: Path) -> Model:
    source = load_source(read_mlflow_model(path))
    request = BuildRequest(
        build_id="b",
        registered_name="m",
        model=TritonName("m"),
        ordinal=Ordinal(1),
        source=path,
        output=Path("/nowhere"),
        spec=ServingSpec(max_batch_size=16),
    )
    questions = ask(source, request)
    graph, _ = convert(source, caps=RuntimeCaps())
    return Model(graph=graph, questions=questions, coarsest=coarsest_float(graph))


@pytest.fixture(scope="module")
def net(log_torch: Callable[..., Path], make_schema: Callable[..., object]) -> Model:
    torch.manual_seed(11)
    example = np.random.default_rng(11).standard_normal((16, 8)).astype(np.float32)
    return model_of(log_torch(Net(), example, make_schema(("", "float32", (-1, 8)))))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path, _ = log_table(tmp_path_factory.mktemp("trees") / "model", RECIPES["lightgbm"])
    return model_of(path)


def weight(graph: Any, shape: list[int]) -> Any:
    """The first initialiser of a shape."""
    return next(one for one in graph.graph.initializer if list(one.dims) == shape)


def put(tensor: Any, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def normalisation_constant(graph: Any) -> None:
    """The mean that is taken from the input, 10 % off."""
    tensor = next(
        one
        for one in graph.graph.initializer
        if one.data_type == TensorProto.FLOAT
        and numpy_helper.to_array(one).size == 1
        and float(numpy_helper.to_array(one).reshape(())) == 0.5
    )
    put(tensor, numpy_helper.to_array(tensor) * np.float32(1.1))


def transposed_weight(graph: Any) -> None:
    """A square weight the wrong way round: no shape tells."""
    tensor = weight(graph, [6, 6])
    put(tensor, numpy_helper.to_array(tensor).T)


def swapped_outputs(graph: Any) -> None:
    first, second = (output.name for output in graph.graph.output)
    names = {first: second, second: first}
    for node in graph.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]


def without(operator: str) -> Callable[[Any], None]:
    """Let the last node of an operator do nothing."""

    def fault(graph: Any) -> None:
        node = [node for node in nodes(graph) if node.op_type == operator][-1]
        node.op_type = "Identity"
        del node.attribute[:]

    return fault


def class_order(graph: Any) -> None:
    """Put the classes' probabilities in another order."""
    output = next(one for one in graph.graph.output if one.name == "probabilities")
    for node in graph.graph.node:
        node.output[:] = ["unordered" if n == output.name else n for n in node.output]
    order = numpy_helper.from_array(np.array([2, 0, 3, 1]), "other_order")
    graph.graph.initializer.append(order)
    gather = helper.make_node("Gather", ["unordered", "other_order"], [output.name], axis=1)
    graph.graph.node.append(gather)


def attribute(operator: str, name: str, value: Any) -> Callable[[Any], None]:
    def fault(graph: Any) -> None:
        found = [node for node in nodes(graph) if node.op_type == operator]
        assert found, f"there is no {operator}"
        for node in found:
            kept = [item for item in node.attribute if item.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return fault


def epsilon(graph: Any) -> None:
    """Fold the batch norm with an epsilon of 1e-3 instead of 1e-5, wherever it is by now."""
    if any(node.op_type == "BatchNormalization" for node in nodes(graph)):
        attribute("BatchNormalization", "epsilon", 1e-3)(graph)
        return
    tensor = weight(graph, [6, 1, 3])  # folded: scaled by 1 / sqrt(variance + epsilon)
    put(tensor, numpy_helper.to_array(tensor) * np.float32(0.97))


def float32_thresholds(graph: Any) -> None:
    """What converters do by default: round every threshold of the trees to float32."""
    (node,) = [one for one in graph.graph.node if one.op_type == "TreeEnsembleRegressor"]
    found = next(item for item in node.attribute if item.name == "nodes_values_as_tensor")
    array = numpy_helper.to_array(found.t)
    put(found.t, array.astype(np.float32).astype(np.float64))


def nodes(graph: Any) -> Iterator[Any]:
    yield from graph.graph.node
    for function in graph.functions:
        yield from function.node


Fault = Callable[[Any], None]

NETWORK: dict[str, tuple[Fault, str, tuple[str, ...]]] = {
    "wrong normalisation constant": (normalisation_constant, "", ("values", "rounding")),
    "transposed weight": (transposed_weight, "", ("values",)),
    "swapped outputs": (swapped_outputs, "", ("swapped-outputs",)),
    "dropped post-processing": (without("Softmax"), "probabilities", ("post-processing",)),
    "wrong class order": (class_order, "probabilities", ("column-order",)),
    "softmax on the wrong axis": (
        attribute("Softmax", "axis", 0),
        "probabilities",
        ("axis",),
    ),
    "epsilon changed in batch norm": (epsilon, "", ("values", "rounding")),
}


@pytest.mark.parametrize("name", NETWORK)
def test_a_fault_in_a_network_is_refused_and_named(net: Model, name: str) -> None:
    """The output, the row and the kind are in the error, and the words say them."""
    fault, output, kinds = NETWORK[name]
    graph = copy.deepcopy(net.graph)
    fault(graph)
    refusal = net.refusal(OnnxSession(graph.SerializeToString()).run)
    _named(refusal, output or refusal.details["output"], kinds)


def test_without_a_fault_the_same_models_pass(net: Model, trees: Model) -> None:
    """The refusals are due to the faults; the evidence is strong, borders included."""
    for model in (net, trees):
        report = model.judge(OnnxSession(model.graph.SerializeToString()).run)
        assert report.passed
        assert not report.weaknesses
        assert any(case.startswith("boundary-") for case in report.cases)


def test_thresholds_in_float32_are_refused_and_named(trees: Model) -> None:
    """A few rows take another leaf while all others agree."""
    graph = copy.deepcopy(trees.graph)
    float32_thresholds(graph)
    refusal = trees.refusal(OnnxSession(graph.SerializeToString()).run)
    _named(refusal, refusal.details["output"], ("branch",))
    assert refusal.details["case"].startswith("splits-")


def test_overflow_in_float16_is_refused_and_named(net: Model) -> None:
    """Numbers above 65,504 become infinite in half precision."""
    original = OnnxSession(net.graph.SerializeToString()).run

    def halved(inputs: Arrays) -> dict[str, np.ndarray]:
        # The last layer as float16 has it, with logits scaled by 2**15 on the way.
        answer = original(inputs)
        with np.errstate(over="ignore"):
            scaled = (answer["classes"] * np.float32(2**15)).astype(np.float16)
        return {**answer, "classes": scaled.astype(np.float32) / np.float32(2**15)}

    refusal = net.refusal(halved, Precision.FP16)
    _named(refusal, "classes", ("overflow",))


@pytest.mark.parametrize(("reach", "refused"), [(1.0, False), (0.05, True)])
def test_8_bits_with_bad_calibration_are_refused_and_named(
    net: Model, reach: float, refused: bool
) -> None:
    """Weights and inputs in 8 bits pass when calibrated on typical rows, not on a twentieth."""
    original = OnnxSession(net.graph.SerializeToString()).run
    rows = [item.case for item in net.questions.answered if item.case.typical]
    (name,) = rows[0].inputs
    largest = reach * max(float(np.abs(case.inputs[name]).max()) for case in rows)
    step = np.float32(largest / 127)

    def quantised(inputs: Arrays) -> dict[str, np.ndarray]:
        counts = np.clip(np.rint(inputs[name] / step), -128, 127)
        return original({name: (counts * step).astype(np.float32)})

    if not refused:
        assert net.judge(quantised, Precision.INT8).passed
        return
    refusal = net.refusal(quantised, Precision.INT8)
    _named(refusal, refusal.details["output"], ("values", "rounding", "branch", "scale"))
    assert "rows" in refusal.message


def test_stale_external_data_is_refused_and_named(net: Model, tmp_path: Path) -> None:
    """A graph beside the weights of an earlier training loads well, and answers otherwise."""
    older = copy.deepcopy(net.graph)
    for tensor in older.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 1:
            put(tensor, array + np.float32(0.05))
    for name, graph in (("old", older), ("new", copy.deepcopy(net.graph))):
        onnx.save_model(
            graph,
            str(tmp_path / f"{name}.onnx"),
            save_as_external_data=True,
            location=f"{name}.data",
            size_threshold=0,
        )
    (tmp_path / "new.data").write_bytes((tmp_path / "old.data").read_bytes())
    stale = onnx.load(str(tmp_path / "new.onnx"))
    refusal = net.refusal(OnnxSession(stale.SerializeToString()).run)
    _named(refusal, refusal.details["output"], ("values", "rounding"))


def _named(refusal: UnverifiedError, output: str, kinds: tuple[str, ...]) -> None:
    details = refusal.details
    assert details["output"] == output
    assert details["kind"] in kinds
    assert details["row"] is not None
    assert f"output {output!r}" in refusal.message
    assert f"worst is row {details['row']} of {details['case']}" in refusal.message
    assert "It looks like:" in refusal.message
