"""Two ways from a tabular model to ONNX: trees written here, everything else by skl2onnx.

Where a scikit-learn pipeline ends in trees, or contains them, skl2onnx writes the other steps and
calls back here for the trees, so that their thresholds are exact wherever they stand.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .errors import UnsupportedGraphError
from .requests import RuntimeCaps
from .sklearn_models import FLAVOUR as SKLEARN
from .sklearn_parts import parts
from .sklearn_trees import sklearn_ensemble
from .sources import SourceModel
from .tables import PACKED
from .tabular_graphs import inner_model, on_the_wire, opsets
from .tabular_models import LABEL, PREDICTION, PROBABILITIES, TabularModel, label_array
from .tree_ensembles import Link, TreeEnsemble
from .tree_nodes import ML_DOMAIN, ML_OPSET, label_nodes, score_nodes

_WORDS: Final = r"[\p{L}\p{N}_][\p{L}\p{N}_]+"
"""scikit-learn's default pattern of words, `(?u)\\b\\w\\w+\\b`, in the tokenizer's dialect."""

_LOCALE: Final = b"C.UTF-8"
_DEFAULT_PATTERN: Final = r"(?u)\b\w\w+\b"


@dataclass(frozen=True, slots=True)
class TreeExporter:
    """A model that is trees and nothing else."""

    name: str = "trees-onnx"

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""
        if not isinstance(source, TabularModel):
            return f"the model is {source.flavour}, not of a table"
        if source.trees is None:
            return f"{type(source.estimator).__name__} is not an ensemble of trees"
        return "the trees stand behind other steps" if source.before is not None else ""

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the trees as an `onnx.ModelProto` with exact thresholds."""
        assert isinstance(source, TabularModel)
        assert source.trees is not None
        nodes = score_nodes(source.trees, PACKED, "score", "tree_")
        if source.classes is None:
            nodes.append(_second_of_two(source.trees, "score", PREDICTION))
            outputs = {PREDICTION: TensorProto.DOUBLE}
        else:
            nodes.append(helper.make_node("Identity", ["score"], [PROBABILITIES]))
            nodes += label_nodes("score", LABEL, source.classes, "tree_")
            text = source.classes.dtype.kind == "O"
            kind = TensorProto.STRING if text else TensorProto.INT64
            outputs = {LABEL: kind, PROBABILITIES: TensorProto.DOUBLE}
        inner = inner_model(nodes, source.table.width, outputs, caps)
        return on_the_wire(inner, source, by_column=False, caps=caps)


@dataclass(frozen=True, slots=True)
class SklearnExporter:
    """A scikit-learn model of any other kind, by skl2onnx in float64."""

    name: str = "skl2onnx"

    def refusal(self, source: SourceModel) -> str:
        """Say why this converter does not take a source; empty if it does."""
        if isinstance(source, TabularModel) and source.flavour == SKLEARN:
            return ""
        return f"the model is {source.flavour}, not scikit-learn"

    def convert(self, source: SourceModel, *, caps: RuntimeCaps) -> Any:
        """Return the model as an `onnx.ModelProto` with the wire's inputs and outputs.

        Raises:
            UnsupportedGraphError: skl2onnx does not take it.
        """
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

        assert isinstance(source, TabularModel)
        table = source.table
        by_column = bool(table.columns) and (not table.packed or _names_columns(source.estimator))

        def kind(text: bool, width: int) -> Any:
            return (StringTensorType if text else DoubleTensorType)([None, width])

        if by_column:
            text = [port.dtype.triton == "TYPE_STRING" for port in table.ports]
            flags = text if not table.packed else [False] * len(table.columns)
            types = [(name, kind(flag, 1)) for name, flag in zip(table.columns, flags, strict=True)]
        else:
            is_text = table.ports[0].dtype.triton == "TYPE_STRING"
            types = [(PACKED, kind(is_text, table.width))]
        converters, shapes = _custom_converters()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                inner = skl2onnx.convert_sklearn(
                    source.estimator,
                    initial_types=types,
                    target_opset=opsets(caps),
                    options=_options(source),
                    custom_conversion_functions=converters,
                    custom_shape_calculators=shapes,
                )
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UnsupportedGraphError(
                f"skl2onnx does not take the model: {type(error).__name__}: "
                f"{lines[0] if lines else '':.300}",
                hint="Replace the step that it names, or export to ONNX yourself and log the file "
                "with mlflow.onnx.log_model.",
            ) from error
        _use_built_in_locale(inner)
        return on_the_wire(inner, source, by_column=by_column, caps=caps)


def _use_built_in_locale(model: Any) -> None:
    """Let text be lowered in the locale that every system has.

    skl2onnx writes `en_US.UTF-8`, without which ONNX Runtime refuses the graph; images of servers
    rarely have it.
    """
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [item for item in node.attribute if item.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", _LOCALE)])


def _second_of_two(trees: TreeEnsemble, score: str, output: str) -> Any:
    """A booster of two classes answers the probability of the second one alone."""
    if trees.link is not Link.LOGISTIC:
        return helper.make_node("Identity", [score], [output])
    return helper.make_node("Split", [score], ["first_of_two", output], axis=1, num_outputs=2)


def _names_columns(estimator: Any) -> bool:
    """Tell whether a part of the model picks columns, for which skl2onnx wants them one by one."""
    from sklearn.compose import ColumnTransformer

    return any(isinstance(part, ColumnTransformer) for part in parts(estimator))


def _options(source: TabularModel) -> dict[int, dict[str, Any]]:
    from sklearn.feature_extraction.text import CountVectorizer

    options: dict[int, dict[str, Any]] = {}
    if source.classes is not None:
        options[id(source.estimator)] = {"zipmap": False}
    for part in parts(source.estimator):
        if isinstance(part, CountVectorizer) and part.token_pattern == _DEFAULT_PATTERN:
            options[id(part)] = {"tokenexp": _WORDS}
    return options


def _custom_converters() -> tuple[dict[type, Any], dict[type, Any]]:
    """What skl2onnx calls back here for: trees, and imputing, which it writes for float32 only."""
    from sklearn import ensemble, impute, tree

    kinds: list[type] = [
        tree.DecisionTreeClassifier,
        tree.DecisionTreeRegressor,
        ensemble.ExtraTreesClassifier,
        ensemble.ExtraTreesRegressor,
        ensemble.GradientBoostingClassifier,
        ensemble.GradientBoostingRegressor,
        ensemble.HistGradientBoostingClassifier,
        ensemble.HistGradientBoostingRegressor,
        ensemble.RandomForestClassifier,
        ensemble.RandomForestRegressor,
    ]
    converters: dict[type, Any] = dict.fromkeys(kinds, _write_trees)
    shapes: dict[type, Any] = dict.fromkeys(kinds, _shape_trees)
    converters[impute.SimpleImputer] = _write_imputer
    shapes[impute.SimpleImputer] = _shape_imputer
    return converters, shapes


def _write_trees(scope: Any, operator: Any, container: Any) -> None:
    estimator = operator.raw_operator
    trees = sklearn_ensemble(estimator)
    if trees is None:
        raise UnsupportedGraphError(f"{type(estimator).__name__} answers several labels per row.")
    prefix = scope.get_unique_variable_name("trees") + "_"
    entry, score = f"{prefix}columns", f"{prefix}answers"
    names = [output.full_name for output in operator.outputs]
    nodes = [
        helper.make_node("Cast", [operator.inputs[0].full_name], [entry], to=TensorProto.DOUBLE),
        *score_nodes(trees, entry, score, prefix),
    ]
    if hasattr(estimator, "classes_"):
        nodes += label_nodes(score, names[0], label_array(estimator.classes_), prefix)
        nodes.append(_typed(score, names[1], operator.outputs[1]))
    else:
        nodes.append(_typed(score, names[0], operator.outputs[0]))
    for node in nodes:
        _add(node, scope, container)


def _typed(name: str, output: str, variable: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType

    double = isinstance(variable.type, DoubleTensorType)
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    return helper.make_node("Cast", [name], [output], to=kind)


def _add(node: Any, scope: Any, container: Any) -> None:
    container.add_node(
        node.op_type,
        list(node.input),
        list(node.output),
        op_domain=node.domain,
        op_version=ML_OPSET if node.domain == ML_DOMAIN else None,
        name=scope.get_unique_operator_name(node.op_type),
        **{item.name: helper.get_attribute_value(item) for item in node.attribute},
    )


def _shape_trees(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    estimator = operator.raw_operator
    rows = operator.inputs[0].get_first_dimension()
    if hasattr(estimator, "classes_"):
        text = label_array(estimator.classes_).dtype.kind == "O"
        operator.outputs[0].type = (StringTensorType if text else Int64TensorType)([rows])
        operator.outputs[1].type = DoubleTensorType([rows, len(estimator.classes_)])
    else:
        operator.outputs[0].type = DoubleTensorType(
            [rows, int(getattr(estimator, "n_outputs_", 1))]
        )


def _write_imputer(scope: Any, operator: Any, container: Any) -> None:
    """The statistic of a column in the place of its NaN."""
    imputer = operator.raw_operator
    gap = imputer.missing_values
    if not (isinstance(gap, float) and np.isnan(gap)) or imputer.add_indicator:
        raise UnsupportedGraphError("SimpleImputer is converted for NaN, without an indicator.")
    statistics = np.asarray(imputer.statistics_, dtype=np.float64)
    if np.isnan(statistics).any():
        raise UnsupportedGraphError("SimpleImputer drops a column that was empty in training.")
    prefix = scope.get_unique_variable_name("imputer") + "_"
    (output,) = operator.outputs
    tensor = numpy_helper.from_array(statistics, f"{prefix}by")
    parts_in = [variable.full_name for variable in operator.inputs]
    joined = f"{prefix}joined"
    cast = [f"{prefix}{number}" for number in range(len(parts_in))]
    for node in (
        *(
            helper.make_node("Cast", [name], [made], to=TensorProto.DOUBLE)
            for name, made in zip(parts_in, cast, strict=True)
        ),
        helper.make_node("Concat", cast, [joined], axis=1),
        helper.make_node("Constant", [], [f"{prefix}by"], value=tensor),
        helper.make_node("IsNaN", [joined], [f"{prefix}gaps"]),
        helper.make_node("Where", [f"{prefix}gaps", f"{prefix}by", joined], [output.full_name]),
    ):
        _add(node, scope, container)


def _shape_imputer(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = DoubleTensorType([rows, len(operator.raw_operator.statistics_)])
