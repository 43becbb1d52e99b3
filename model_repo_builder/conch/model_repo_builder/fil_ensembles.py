"""The ensemble around FIL: columns in, trees, labels out, under the model's own tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import onnx
from onnx import TensorProto, helper

from conch.core import DType, Signature, TensorSpec, TritonName
from conch.triton_configs import (
    BuildFacts,
    EnsembleStep,
    ModelConfig,
    Warmup,
    WarmupInput,
    native_ensemble,
    native_fil,
    native_onnx,
)

from .tabular_models import LABEL, PREDICTION, PROBABILITIES, TabularModel
from .tree_nodes import label_nodes
from .variants import NativeForm, NativeModel

_IN: Final = "input__0"
_OUT: Final = "output__0"
_OPSET: Final = 20
_IR_VERSION: Final = 10
_ROWS: Final = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What the ensemble is made of.

    Attributes:
        kind: FIL's `model_type`.
        trees: The file of the trees.
        columns: The graph that rounds columns to FP32; None where they are FP32.
        labels: The graph that names the best class; None for a regressor.
        about: A text file for the ensemble's own version folder, which must not be empty.
        port: The input's name.
        dtype: The input's type.
        width: Number of columns.
        answers: Number of columns that FIL answers.
        label: Type of the labels.
    """

    kind: str
    trees: Path
    columns: Path | None
    labels: Path | None
    about: Path
    port: str
    dtype: DType
    width: int
    answers: int
    label: DType

    @classmethod
    def write(cls, folder: Path, source: TabularModel, kind: str, trees: Path) -> Self:
        """Write the graphs beside the file of the trees."""
        (port,) = source.table.ports
        classes = source.classes
        columns = labels = None
        if port.dtype is not DType.FP32:
            columns = folder / "columns.onnx"
            onnx.save(_columns_graph(port.name, port.dtype, source.table.width), columns)
        if classes is not None:
            labels = folder / "labels.onnx"
            onnx.save(_labels_graph(classes), labels)
        about = folder / "members.txt"
        about.write_text("The models of this ensemble lie beside its folder.\n", encoding="utf-8")
        text = classes is not None and classes.dtype.kind in "OSU"
        return cls(
            kind=kind,
            trees=trees,
            columns=columns,
            labels=labels,
            about=about,
            port=port.name,
            dtype=port.dtype,
            width=source.table.width,
            answers=1 if classes is None else len(classes),
            label=DType.BYTES if text else DType.INT64,
        )


def native_form(members: Members) -> NativeForm:
    """Return the ensemble's folders, the one that callers name first."""
    note = (
        "FIL does not run here: the file was checked by treelite where it is installed, and the "
        "rows by the same trees in FP32; the golden rows decide on the server"
    )
    return NativeForm(backend="ensemble", models=lambda facts: _models(members, facts), note=note)


def _models(members: Members, facts: BuildFacts) -> tuple[NativeModel, ...]:
    name, ordinal = facts["model"], facts["ordinal"]
    steps: list[EnsembleStep] = []
    models: list[NativeModel] = []
    wire = members.port
    if members.columns is not None:
        member = TritonName(f"{name}__columns")
        signature = Signature(
            inputs=(_spec(members.port, members.dtype, members.width),),
            outputs=(_spec(_IN, DType.FP32, members.width),),
        )
        config = native_onnx(**_member(facts, member, signature))
        models.append(_folder(_warmed(config, facts), {"model.onnx": members.columns}))
        wire = "columns"
        steps.append(_step(member, ordinal, {members.port: members.port}, {_IN: wire}))
    trees = TritonName(f"{name}__trees")
    signature = Signature(
        inputs=(_spec(_IN, DType.FP32, members.width),),
        outputs=(_spec(_OUT, DType.FP32, members.answers),),
    )
    classifier = members.labels is not None
    config = native_fil(
        model_type=members.kind,
        is_classifier=classifier,
        predict_proba=classifier,
        **_member(facts, trees, signature),
    )
    models.append(_folder(_warmed(config, facts), {members.trees.name: members.trees}))
    out = "trees" if classifier else PREDICTION
    steps.append(_step(trees, ordinal, {_IN: wire}, {_OUT: out}))
    if members.labels is not None:
        member = TritonName(f"{name}__labels")
        signature = Signature(
            inputs=(_spec(_OUT, DType.FP32, members.answers),),
            outputs=(
                _spec(LABEL, members.label, 1),
                _spec(PROBABILITIES, DType.FP32, members.answers),
            ),
        )
        config = native_onnx(**_member(facts, member, signature))
        models.append(_folder(_warmed(config, facts), {"model.onnx": members.labels}))
        given = {LABEL: LABEL, PROBABILITIES: PROBABILITIES}
        steps.append(_step(member, ordinal, {_OUT: out}, given))
    seen: BuildFacts = {**facts, "warmup": []}
    whole = native_ensemble(steps=steps, **seen)
    return (NativeModel(config=whole, files={"members.txt": members.about}, warm=False), *models)


def _member(facts: BuildFacts, name: TritonName, signature: Signature) -> BuildFacts:
    return {**facts, "model": name, "signature": signature, "warmup": [], "labels": {}}


def _warmed(config: ModelConfig, facts: BuildFacts) -> ModelConfig:
    """Warm a member with zeros, at the batch sizes that the whole model is warmed with."""
    inputs = {
        one.name: WarmupInput(data_type=one.data_type, dims=one.dims, zero_data=True)
        for one in config.input
    }
    samples = tuple(
        Warmup(name=one.name, batch_size=one.batch_size, inputs=inputs)
        for one in facts.get("warmup", ())
    )
    return replace(config, model_warmup=samples)


def _folder(config: Any, files: dict[str, Path]) -> NativeModel:
    return NativeModel(config=config, files=files, warm=False)


def _step(name: str, version: int, inputs: dict[str, str], outputs: dict[str, str]) -> EnsembleStep:
    return EnsembleStep(
        model_name=name, model_version=version, input_map=inputs, output_map=outputs
    )


def _spec(name: str, dtype: DType, width: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=(width,))


def _columns_graph(name: str, dtype: DType, width: int) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(dtype.numpy)
    nodes = [helper.make_node("Cast", [name], [_IN], to=TensorProto.FLOAT)]
    return _graph(nodes, [(name, kind, width)], [(_IN, TensorProto.FLOAT, width)])


def _labels_graph(classes: Any) -> Any:
    text = classes.dtype.kind in "OSU"
    kind = TensorProto.STRING if text else TensorProto.INT64
    nodes = [
        *label_nodes(_OUT, "names", classes, "labels_"),
        helper.make_node("Constant", [], ["column"], value_ints=[-1, 1]),
        helper.make_node("Reshape", ["names", "column"], [LABEL]),
        helper.make_node("Identity", [_OUT], [PROBABILITIES]),
    ]
    width = len(classes)
    return _graph(
        nodes,
        [(_OUT, TensorProto.FLOAT, width)],
        [(LABEL, kind, 1), (PROBABILITIES, TensorProto.FLOAT, width)],
    )


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Any:
    def info(item: tuple[str, int, int]) -> Any:
        return helper.make_tensor_value_info(item[0], item[1], [_ROWS, item[2]])

    graph = helper.make_graph(
        nodes, "member", [info(i) for i in inputs], [info(o) for o in outputs]
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
