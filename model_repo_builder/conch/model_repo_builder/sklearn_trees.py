"""Reading scikit-learn's tree ensembles: trees, forests, gradient boosting of both kinds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import UnsupportedGraphError
from .tree_ensembles import LEAF, Link, Rule, Tree, TreeEnsemble


def sklearn_ensemble(estimator: Any) -> TreeEnsemble | None:
    """Return an estimator's trees; None if it is not a tree ensemble that is read here.

    Raises:
        UnsupportedGraphError: It is one, with a part that ONNX cannot express.
    """
    from sklearn import ensemble, tree

    if isinstance(estimator, tree.DecisionTreeClassifier | tree.DecisionTreeRegressor):
        return _forest([estimator], estimator)
    if isinstance(
        estimator,
        ensemble.RandomForestClassifier
        | ensemble.RandomForestRegressor
        | ensemble.ExtraTreesClassifier
        | ensemble.ExtraTreesRegressor,
    ):
        return _forest(estimator.estimators_, estimator)
    if isinstance(
        estimator, ensemble.GradientBoostingClassifier | ensemble.GradientBoostingRegressor
    ):
        return _boosting(estimator)
    if isinstance(
        estimator, ensemble.HistGradientBoostingClassifier | ensemble.HistGradientBoostingRegressor
    ):
        return _histogram(estimator)
    return None


def _forest(members: Iterable[Any], estimator: Any) -> TreeEnsemble | None:
    """The mean of the trees' class shares or means; scikit-learn compares float32 columns."""
    trees = []
    for member in members:
        value = member.tree_.value  # float64[nodes, outputs, classes]; shares since 1.3
        if hasattr(estimator, "classes_"):
            if value.shape[1] != 1:
                return None
            shares = value[:, 0, :]
            leaves = shares / shares.sum(axis=1, keepdims=True)
        else:
            leaves = value[:, :, 0]
        trees.append(_tree(member.tree_, leaves))
    outputs = trees[0].value.shape[1]
    return TreeEnsemble(
        trees=tuple(trees),
        rule=Rule.AT_MOST,
        base=np.zeros(outputs),
        divisor=float(len(trees)),
        single=True,
    )


def _boosting(estimator: Any) -> TreeEnsemble:
    outputs = estimator.estimators_.shape[1]
    trees = []
    for stage in estimator.estimators_:
        for output, member in enumerate(stage):
            leaves = np.zeros((member.tree_.node_count, outputs))
            leaves[:, output] = estimator.learning_rate * member.tree_.value[:, 0, 0]
            trees.append(_tree(member.tree_, leaves))
    width = int(estimator.n_features_in_)
    starts = [
        estimator._raw_predict_init(np.full((1, width), fill, dtype=np.float32))
        for fill in (0.0, 1.0)
    ]
    if not np.array_equal(*starts):
        raise UnsupportedGraphError(
            f"{type(estimator).__name__} starts from the answers of another model (init=).",
            hint="Train it with the default init.",
        )
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        if estimator.loss == "exponential":
            raise UnsupportedGraphError(
                "GradientBoostingClassifier with loss='exponential' is not converted.",
                hint="Train it with loss='log_loss'.",
            )
        link = Link.LOGISTIC if outputs == 1 else Link.SOFTMAX
    return TreeEnsemble(
        trees=tuple(trees),
        rule=Rule.AT_MOST,
        base=starts[0].reshape(-1).astype(np.float64),
        link=link,
        single=True,
    )


def _histogram(estimator: Any) -> TreeEnsemble:
    """Histogram boosting compares float64 columns with float64 thresholds."""
    outputs = int(estimator.n_trees_per_iteration_)
    trees = []
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            leaves = np.zeros((len(nodes), outputs))
            leaves[:, output] = np.where(leaf, nodes["value"], 0.0)
            trees.append(
                Tree(
                    feature=np.where(leaf, LEAF, nodes["feature_idx"]).astype(np.int64),
                    threshold=nodes["num_threshold"].astype(np.float64),
                    left=nodes["left"].astype(np.int64),
                    right=nodes["right"].astype(np.int64),
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    value=leaves,
                )
            )
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.LOGISTIC if outputs == 1 else Link.SOFTMAX
    elif estimator.loss in ("poisson", "gamma"):
        link = Link.EXPONENTIAL
    return TreeEnsemble(
        trees=tuple(trees),
        rule=Rule.AT_MOST,
        base=np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1),
        link=link,
    )


def _tree(tree: Any, leaves: np.ndarray) -> Tree:
    leaf = tree.children_left < 0
    return Tree(
        feature=np.where(leaf, LEAF, tree.feature).astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        missing_left=tree.missing_go_to_left.astype(bool),
        value=np.asarray(leaves, dtype=np.float64),
    )
