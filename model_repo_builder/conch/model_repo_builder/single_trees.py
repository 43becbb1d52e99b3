"""Ensembles of trees in FP32 from end to end, as the FIL backend computes them.

An independent evaluation by NumPy of the ensemble that was read from the framework: columns and
thresholds are rounded to float32 before they are compared, leaves are summed in float32.
"""

from __future__ import annotations

import numpy as np

from .tree_ensembles import LEAF, Link, Rule, Tree, TreeEnsemble


def single_answers(ensemble: TreeEnsemble, columns: np.ndarray) -> np.ndarray:
    """Return float32[rows, answers]; a logistic ensemble answers both classes.

    Args:
        ensemble: The trees.
        columns: [rows, columns] of any number type.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite to FIL too
        rows = columns.astype(np.float32)
    sums = np.zeros((len(rows), ensemble.outputs), dtype=np.float32)
    for tree in ensemble.trees:
        sums += tree.value[_leaves(tree, rows, ensemble.rule)].astype(np.float32)
    scores = (sums / np.float32(ensemble.divisor)) + ensemble.base.astype(np.float32)
    return _linked(scores * np.float32(ensemble.link_scale), ensemble.link)


def _leaves(tree: Tree, rows: np.ndarray, rule: Rule) -> np.ndarray:
    """Return the leaf that each row ends in: int64[rows]."""
    thresholds = tree.threshold.astype(np.float32)
    places = np.arange(len(rows))
    nodes = np.zeros(len(rows), dtype=np.int64)
    while (inner := tree.feature[nodes] != LEAF).any():
        values = rows[places, np.where(inner, tree.feature[nodes], 0)]
        limits = thresholds[nodes]
        with np.errstate(invalid="ignore"):
            left = values <= limits if rule is Rule.AT_MOST else values < limits
        left = np.where(np.isnan(values), tree.missing_left[nodes], left)
        nodes = np.where(inner, np.where(left, tree.left[nodes], tree.right[nodes]), nodes)
    return nodes


def _linked(scores: np.ndarray, link: Link) -> np.ndarray:
    with np.errstate(over="ignore"):
        if link is Link.EXPONENTIAL:
            return np.asarray(np.exp(scores))
        if link is Link.LOGISTIC:
            chance = 1 / (1 + np.exp(-scores))
            return np.concatenate([1 - chance, chance], axis=1)
        if link is Link.SOFTMAX:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return scores
