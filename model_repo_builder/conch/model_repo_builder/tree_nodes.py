"""Tree ensembles as ONNX operators that compare as the trained model compares.

`TreeEnsembleRegressor` of `ai.onnx.ml` 3 takes columns and thresholds in float64. Converters
usually write both in float32; a row whose column lies within half a float32 step of a threshold
then takes the other branch, and its answer is that of another leaf, not a slightly different one.
Here thresholds stay as trained. Where the framework itself rounds columns to float32 before it
compares (scikit-learn's forests, XGBoost), the graph does the same rounding.

Two properties of ONNX Runtime (1.32, measured) shape the graph: the operator returns float32 even
for float64 columns, and drops its `base_values` where no leaf wrote to an output. So sums come out
rounded once, and the base is added by an operator of its own.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .tree_ensembles import LEAF, Link, TreeEnsemble

ML_DOMAIN: Final = "ai.onnx.ml"
ML_OPSET: Final = 3


def score_nodes(ensemble: TreeEnsemble, columns: str, answers: str, prefix: str) -> list[Any]:
    """Return nodes from float64[rows, columns] to float64[rows, answers].

    A logistic ensemble answers two columns, the probabilities of both classes; every other as many
    as it has outputs.

    Args:
        ensemble: The trees.
        columns: Name of the input.
        answers: Name of the output.
        prefix: Begins the name of every inner value.
    """
    nodes: list[Any] = []
    name = columns
    if ensemble.single:
        nodes.append(_cast(name, f"{prefix}single", TensorProto.FLOAT))
        nodes.append(_cast(f"{prefix}single", f"{prefix}rounded", TensorProto.DOUBLE))
        name = f"{prefix}rounded"
    if ensemble.zero_reach:
        nodes += _without_dust(name, f"{prefix}clean", ensemble.zero_reach)
        name = f"{prefix}clean"
    nodes.append(
        helper.make_node(
            "TreeEnsembleRegressor",
            [name],
            [f"{prefix}leaves"],
            domain=ML_DOMAIN,
            **tree_attributes(ensemble),
        )
    )
    nodes.append(_cast(f"{prefix}leaves", f"{prefix}sums", TensorProto.DOUBLE))
    nodes += _with("Div", f"{prefix}sums", f"{prefix}mean", np.array([ensemble.divisor]))
    nodes += _with("Add", f"{prefix}mean", f"{prefix}raw", ensemble.base)
    nodes += _with("Mul", f"{prefix}raw", f"{prefix}score", np.array([ensemble.link_scale]))
    return nodes + _link_nodes(ensemble.link, f"{prefix}score", answers, prefix)


def label_nodes(probabilities: str, label: str, classes: np.ndarray, prefix: str) -> list[Any]:
    """Return nodes from float64[rows, classes] to the best class, int64[rows] or text[rows].

    Args:
        probabilities: Name of the input.
        label: Name of the output.
        classes: int64[classes], or text as `str`.
        prefix: Begins the name of every inner value.
    """
    if classes.dtype.kind in "OSU":
        text = [str(item).encode() for item in classes]
        tensor = helper.make_tensor(f"{prefix}classes", TensorProto.STRING, [len(text)], text)
    else:
        tensor = numpy_helper.from_array(classes.astype(np.int64), f"{prefix}classes")
    return [
        helper.make_node("Constant", [], [f"{prefix}classes"], value=tensor),
        helper.make_node("ArgMax", [probabilities], [f"{prefix}best"], axis=1, keepdims=0),
        helper.make_node("Gather", [f"{prefix}classes", f"{prefix}best"], [label], axis=0),
    ]


def tree_attributes(ensemble: TreeEnsemble) -> dict[str, Any]:
    """Return the attributes of `TreeEnsembleRegressor`, thresholds and leaves in float64."""
    nodes: dict[str, list[Any]] = {
        key: []
        for key in (
            "nodes_treeids",
            "nodes_nodeids",
            "nodes_featureids",
            "nodes_modes",
            "nodes_truenodeids",
            "nodes_falsenodeids",
            "nodes_missing_value_tracks_true",
            "target_treeids",
            "target_nodeids",
            "target_ids",
        )
    }
    thresholds: list[np.ndarray] = []
    weights: list[float] = []
    for number, tree in enumerate(ensemble.trees):
        count = len(tree.feature)
        leaf = tree.feature == LEAF
        nodes["nodes_treeids"] += [number] * count
        nodes["nodes_nodeids"] += range(count)
        nodes["nodes_featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["nodes_modes"] += ["LEAF" if one else ensemble.rule.value for one in leaf]
        nodes["nodes_truenodeids"] += np.where(leaf, 0, tree.left).tolist()
        nodes["nodes_falsenodeids"] += np.where(leaf, 0, tree.right).tolist()
        missing = np.where(leaf, False, tree.missing_left).astype(int)
        nodes["nodes_missing_value_tracks_true"] += missing.tolist()
        thresholds.append(np.where(leaf, 0.0, tree.threshold))
        for node in np.flatnonzero(leaf).tolist():
            for target in range(ensemble.outputs):
                # Zeros too: a leaf that writes nothing to any output is refused by ONNX Runtime.
                nodes["target_treeids"].append(number)
                nodes["target_nodeids"].append(node)
                nodes["target_ids"].append(target)
                weights.append(float(tree.value[node, target]))
    values = numpy_helper.from_array(np.concatenate(thresholds).astype(np.float64), "thresholds")
    leaves = numpy_helper.from_array(np.array(weights, dtype=np.float64), "leaves")
    return {
        **nodes,
        "n_targets": ensemble.outputs,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_values_as_tensor": values,
        "target_weights_as_tensor": leaves,
    }


def _link_nodes(link: Link, score: str, answers: str, prefix: str) -> list[Any]:
    if link is Link.EXPONENTIAL:
        return [helper.make_node("Exp", [score], [answers])]
    if link is Link.SOFTMAX:
        return [helper.make_node("Softmax", [score], [answers], axis=1)]
    if link is Link.LOGISTIC:
        # Both sides by the sigmoid: 1 - p would lose the small ones.
        return [
            helper.make_node("Neg", [score], [f"{prefix}against"]),
            helper.make_node("Concat", [f"{prefix}against", score], [f"{prefix}both"], axis=1),
            helper.make_node("Sigmoid", [f"{prefix}both"], [answers]),
        ]
    return [helper.make_node("Identity", [score], [answers])]


def _without_dust(name: str, output: str, reach: float) -> list[Any]:
    """Nodes that put zero in the place of numbers close to it; NaN stays."""
    zero = numpy_helper.from_array(np.float64(0), f"{output}_zero")
    limit = numpy_helper.from_array(np.float64(reach), f"{output}_limit")
    return [
        helper.make_node("Constant", [], [f"{output}_zero"], value=zero),
        helper.make_node("Constant", [], [f"{output}_limit"], value=limit),
        helper.make_node("Abs", [name], [f"{output}_size"]),
        helper.make_node("LessOrEqual", [f"{output}_size", f"{output}_limit"], [f"{output}_dust"]),
        helper.make_node("Where", [f"{output}_dust", f"{output}_zero", name], [output]),
    ]


def _with(operator: str, name: str, output: str, constant: np.ndarray) -> list[Any]:
    tensor = numpy_helper.from_array(constant.astype(np.float64), f"{output}_by")
    return [
        helper.make_node("Constant", [], [f"{output}_by"], value=tensor),
        helper.make_node(operator, [name, f"{output}_by"], [output]),
    ]


def _cast(name: str, output: str, to: int) -> Any:
    return helper.make_node("Cast", [name], [output], to=to)
