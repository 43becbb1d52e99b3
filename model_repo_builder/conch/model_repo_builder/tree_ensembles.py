"""Ensembles of decision trees as plain numbers, whichever framework grew them.

One value serves two purposes: writing the ensemble as ONNX with every threshold as it was trained
(`tree_nodes`), and finding the rows where it changes its answer (`split_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

LEAF = -1
"""The feature of a node that is a leaf."""


class Rule(StrEnum):
    """Which rows of a split go to the left child, under ONNX's names."""

    AT_MOST = "BRANCH_LEQ"
    BELOW = "BRANCH_LT"


class Link(StrEnum):
    """What turns sums of leaves into answers."""

    IDENTITY = "identity"
    EXPONENTIAL = "exponential"
    LOGISTIC = "logistic"
    """The probability of the second of two classes."""
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree; all arrays have one element per node, the root is node 0.

    Attributes:
        feature: int64; the column that the node looks at, `LEAF` for a leaf.
        threshold: float64, as trained.
        left: int64; the child of rows that fulfil the rule.
        right: int64; the other child.
        missing_left: bool; whether NaN goes to the left.
        value: float64[nodes, outputs]; what a leaf adds to each sum.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEnsemble:
    """Trees whose leaves are summed.

    Attributes:
        trees: The trees, one at least.
        rule: The comparison at every split.
        base: float64[outputs]; added to the sums.
        link: Applied to the sums.
        link_scale: Multiplies the sums before the link.
        divisor: The sums of leaves are divided by it before `base` is added.
        single: Whether the framework rounds columns to float32 before it compares them.
        zero_reach: Numbers this close to zero count as zero.
    """

    trees: tuple[Tree, ...]
    rule: Rule
    base: np.ndarray
    link: Link = Link.IDENTITY
    link_scale: float = 1.0
    divisor: float = 1.0
    single: bool = False
    zero_reach: float = 0.0

    @property
    def outputs(self) -> int:
        """Number of sums."""
        return len(self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split, and how a row gets there.

    Attributes:
        feature: The column that it looks at.
        threshold: What the column is compared with.
        low: By column, the value that a row must exceed on the way.
        high: By column, the value that a row must not exceed on the way.
    """

    feature: int
    threshold: float
    low: Mapping[int, float] = field(default_factory=dict)
    high: Mapping[int, float] = field(default_factory=dict)


def splits(ensemble: TreeEnsemble) -> Iterator[Split]:
    """Yield every split of every tree with the bounds that the splits above it set."""
    for tree in ensemble.trees:
        due: list[tuple[int, dict[int, float], dict[int, float]]] = [(0, {}, {})]
        while due:
            node, low, high = due.pop()
            feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
            if feature == LEAF:
                continue
            yield Split(feature=feature, threshold=threshold, low=low, high=high)
            upper = min(high.get(feature, np.inf), threshold)
            lower = max(low.get(feature, -np.inf), threshold)
            due.append((int(tree.left[node]), low, {**high, feature: upper}))
            due.append((int(tree.right[node]), {**low, feature: lower}, high))
