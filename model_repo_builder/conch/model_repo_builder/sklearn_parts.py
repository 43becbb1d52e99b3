"""The estimators inside an estimator, and whether their trees are sound."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import CorruptArtefactError, UnsupportedGraphError


def parts(estimator: Any) -> list[Any]:
    """Return an estimator with all estimators inside of it, fitted members included."""
    found: list[Any] = []
    seen: set[int] = set()
    due = [estimator]
    while due:
        part = due.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray) and part.dtype == object:
            due += list(part.reshape(-1))
        elif isinstance(part, list | tuple):
            due += list(part)
        elif isinstance(part, dict):
            due += list(part.values())
        elif hasattr(part, "get_params"):
            found.append(part)
            due += list(vars(part).values())
    return found


def holds_trees(estimator: Any) -> bool:
    """Tell whether an estimator is, or contains, decision trees."""
    return any(hasattr(part, "tree_") or hasattr(part, "_predictors") for part in parts(estimator))


def check_trees(estimator: Any) -> None:
    """Make sure that no tree points outside of itself or of its rows.

    scikit-learn follows the indices in a stored tree without looking, so that a file made by hand
    could read foreign memory. That is the reason why skops does not trust trees; after this check
    they are safe to ask.

    Raises:
        CorruptArtefactError: An index is out of range, or a child stands before its parent.
        UnsupportedGraphError: A tree splits categories, by tables that are not checked.
    """
    for part in parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is not None and hasattr(tree, "children_left"):
            leaf = tree.children_left == -1
            sound = np.array_equal(leaf, tree.children_right == -1)
            children = (tree.children_left[~leaf], tree.children_right[~leaf])
            width = int(getattr(part, "n_features_in_", tree.n_features))
            _check(part, leaf, children, tree.feature[~leaf], min(width, int(tree.n_features)))
            if not sound:
                raise _broken(part)
        for stage in getattr(part, "_predictors", None) or ():
            for predictor in stage:
                nodes = predictor.nodes
                leaf = nodes["is_leaf"].astype(bool)
                children = (nodes["left"][~leaf], nodes["right"][~leaf])
                _check(part, leaf, children, nodes["feature_idx"][~leaf], part.n_features_in_)
                if nodes["is_categorical"].any():
                    raise UnsupportedGraphError(
                        f"{type(part).__name__} splits categories (categorical_features=).",
                        hint="Encode the categories in a ColumnTransformer before it, and train it "
                        "with categorical_features=None.",
                    )


def _check(
    part: Any,
    leaf: np.ndarray,
    children: tuple[np.ndarray, np.ndarray],
    features: np.ndarray,
    width: int,
) -> None:
    own = np.flatnonzero(~leaf)
    for side in children:
        found = side.astype(np.int64)
        if len(leaf) == 0 or np.any(found <= own) or np.any(found >= len(leaf)):
            raise _broken(part)
    if np.any(features.astype(np.int64) < 0) or np.any(features.astype(np.int64) >= width):
        raise _broken(part)


def _broken(part: Any) -> CorruptArtefactError:
    return CorruptArtefactError(
        f"A tree of the stored {type(part).__name__} points outside of itself.",
        hint="Train and log the model again.",
    )
