"""Reading the trees of XGBoost and LightGBM from the dumps that they write themselves."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from .errors import UnsupportedGraphError
from .tree_ensembles import LEAF, Link, Rule, Tree, TreeEnsemble

_XGB_IDENTITY: Final = frozenset(
    {"reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"}
)
_XGB_LOGISTIC: Final = frozenset({"binary:logistic", "reg:logistic"})
_XGB_EXPONENTIAL: Final = frozenset({"count:poisson", "reg:gamma", "reg:tweedie"})
_LGB_IDENTITY: Final = frozenset(
    {"regression", "regression_l1", "huber", "fair", "quantile", "mape"}
)
_LGB_EXPONENTIAL: Final = frozenset({"poisson", "gamma", "tweedie"})


_LGB_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`: rows are handed on as pairs without what is this close to zero."""


def xgboost_ensemble(booster: Any, *, rounds: int | None = None) -> TreeEnsemble:
    """Return an XGBoost booster's trees, which compare float32 columns by `<`.

    Args:
        booster: An `xgboost.Booster`.
        rounds: Boosting rounds to keep, as early stopping chose; None for all.

    Raises:
        UnsupportedGraphError: It has a part that is not converted.
    """
    learner = json.loads(booster.save_raw("json"))["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise _unsupported("XGBoost", f"the booster {kind!r}", "Train it with booster='gbtree'.")
    model = learner["gradient_booster"]["model"]
    parameters = learner["learner_model_param"]
    objective = str(learner["objective"]["name"])
    outputs = max(1, int(parameters["num_class"]), int(parameters.get("num_target", "1")))
    groups: list[int] = model["tree_info"]
    count = len(groups)
    if rounds is not None:
        count = rounds * outputs * int(model["gbtree_model_param"]["num_parallel_tree"])
    trees = [_xgboost_tree(model["trees"][n], groups[n], outputs) for n in range(count)]
    link = _xgboost_link(objective)
    # Stored as probability or mean; as a list of one per output since XGBoost 3.1.
    stored = np.atleast_1d(np.array(json.loads(parameters["base_score"]), dtype=np.float64))
    base = np.broadcast_to(stored, (outputs,)).copy()
    if link is Link.LOGISTIC:
        base = np.log(base / (1 - base))
    elif link is Link.EXPONENTIAL:
        base = np.log(base)
    return TreeEnsemble(trees=tuple(trees), rule=Rule.BELOW, base=base, link=link, single=True)


def lightgbm_ensemble(booster: Any) -> TreeEnsemble:
    """Return a LightGBM booster's trees, which compare float64 columns by `<=`.

    Args:
        booster: A `lightgbm.Booster`.

    Raises:
        UnsupportedGraphError: It has a part that is not converted.
    """
    dump = booster.dump_model()
    words = str(dump.get("objective", "")).split()
    options = dict(word.split(":", 1) for word in words[1:] if ":" in word)
    outputs = int(dump["num_tree_per_iteration"])
    trees = [
        _lightgbm_tree(item["tree_structure"], number % outputs, outputs)
        for number, item in enumerate(dump["tree_info"])
    ]
    name = words[0] if words else ""
    link, scale = Link.IDENTITY, 1.0
    if name in ("binary", "cross_entropy"):
        link, scale = Link.LOGISTIC, float(options.get("sigmoid", "1"))
    elif name == "multiclass":
        link = Link.SOFTMAX
    elif name in _LGB_EXPONENTIAL:
        link = Link.EXPONENTIAL
    elif name not in _LGB_IDENTITY or "sqrt" in words:
        raise _unsupported(
            "LightGBM", f"the objective {' '.join(words) or '(none)'!r}", "Log it as ONNX."
        )
    rounds = len(trees) // outputs if dump.get("average_output") else 1
    return TreeEnsemble(
        trees=tuple(trees),
        rule=Rule.AT_MOST,
        base=np.zeros(outputs),
        link=link,
        link_scale=scale,
        divisor=float(rounds),
        zero_reach=_LGB_ZERO,
    )


def _xgboost_link(objective: str) -> Link:
    if objective in _XGB_IDENTITY:
        return Link.IDENTITY
    if objective in _XGB_LOGISTIC:
        return Link.LOGISTIC
    if objective in _XGB_EXPONENTIAL:
        return Link.EXPONENTIAL
    if objective == "multi:softprob":
        return Link.SOFTMAX
    raise _unsupported("XGBoost", f"the objective {objective!r}", "Log it as ONNX.")


def _xgboost_tree(tree: dict[str, Any], group: int, outputs: int) -> Tree:
    if any(tree["split_type"]):
        raise _unsupported("XGBoost", "a split of categories", "Encode the categories as numbers.")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise _unsupported(
            "XGBoost",
            "leaves of several outputs",
            "Train with multi_strategy='one_output_per_tree'.",
        )
    left = np.array(tree["left_children"], dtype=np.int64)
    leaf = left < 0
    # The JSON has float32 numbers in their shortest decimal form; through float32 they are exact.
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    value = np.zeros((len(left), outputs))
    value[:, group] = np.where(leaf, conditions, 0.0)
    return Tree(
        feature=np.where(leaf, LEAF, np.array(tree["split_indices"], dtype=np.int64)),
        threshold=conditions,
        left=left,
        right=np.array(tree["right_children"], dtype=np.int64),
        missing_left=np.array(tree["default_left"], dtype=bool),
        value=value,
    )


def _lightgbm_tree(root: dict[str, Any], output: int, outputs: int) -> Tree:
    nodes: list[dict[str, Any]] = [root]
    left: list[int] = []
    right: list[int] = []
    place = 0
    while place < len(nodes):
        node = nodes[place]
        is_leaf = "split_feature" not in node
        left.append(-1 if is_leaf else len(nodes))
        right.append(-1 if is_leaf else len(nodes) + 1)
        if not is_leaf:
            nodes += [node["left_child"], node["right_child"]]
        place += 1
    value = np.zeros((len(nodes), outputs))
    for number, node in enumerate(nodes):
        if left[number] >= 0:
            continue
        if "leaf_coeff" in node:
            raise _unsupported("LightGBM", "linear trees", "Train with linear_tree=false.")
        value[number, output] = node["leaf_value"]
    return Tree(
        feature=np.array([node.get("split_feature", LEAF) for node in nodes], dtype=np.int64),
        threshold=np.array([_lightgbm_threshold(node) for node in nodes], dtype=np.float64),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        missing_left=np.array([_lightgbm_missing_left(node) for node in nodes], dtype=bool),
        value=value,
    )


def _lightgbm_threshold(node: dict[str, Any]) -> float:
    if "split_feature" not in node:
        return 0.0
    if node["decision_type"] != "<=":
        raise _unsupported("LightGBM", "a split of categories", "Encode the categories as numbers.")
    return float(node["threshold"])


def _lightgbm_missing_left(node: dict[str, Any]) -> bool:
    """Where NaN goes: by `default_left` if the column had NaN in training, else as zero does."""
    if "split_feature" not in node:
        return False
    if node["missing_type"] == "Zero":
        raise _unsupported("LightGBM", "zero_as_missing", "Train with zero_as_missing=false.")
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return float(node["threshold"]) >= 0


def _unsupported(framework: str, what: str, hint: str) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"This {framework} model has {what}, which is not converted.", hint=hint
    )
