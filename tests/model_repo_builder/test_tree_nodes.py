"""Ensembles written as ONNX answer what walking the trees by hand answers, at thresholds too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.requests import RuntimeCaps
from conch.model_repo_builder.tabular_graphs import inner_model
from conch.model_repo_builder.tree_ensembles import (
    LEAF,
    Link,
    Rule,
    Tree,
    TreeEnsemble,
    splits,
)
from conch.model_repo_builder.tree_nodes import score_nodes

COLUMNS = 3
THRESHOLDS = st.one_of(
    st.sampled_from([0.0, 0.1, -0.1, 1 / 3, 40.500000000000007, 16777217.0, 1e-40]),
    st.floats(-100, 100, allow_nan=False),
)


@st.composite
def trees(draw: st.DrawFn, outputs: int) -> Tree:
    """A random tree of up to seven splits, grown leaf by leaf."""
    feature, left, right = [LEAF], [-1], [-1]
    for _ in range(draw(st.integers(0, 7))):
        node = draw(st.sampled_from([n for n, f in enumerate(feature) if f == LEAF]))
        feature[node] = draw(st.integers(0, COLUMNS - 1))
        left[node], right[node] = len(feature), len(feature) + 1
        for array, value in ((feature, LEAF), (left, -1), (right, -1)):
            array += [value, value]
    count = len(feature)
    return Tree(
        feature=np.array(feature),
        threshold=np.array(draw(st.lists(THRESHOLDS, min_size=count, max_size=count))),
        left=np.array(left),
        right=np.array(right),
        missing_left=np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))),
        value=np.array(
            draw(
                st.lists(
                    st.lists(st.floats(-4, 4), min_size=outputs, max_size=outputs),
                    min_size=count,
                    max_size=count,
                )
            )
        ),
    )


@st.composite
def ensembles(draw: st.DrawFn) -> TreeEnsemble:
    """A random ensemble with every option."""
    link = draw(st.sampled_from(Link))
    outputs = 1 if link is Link.LOGISTIC else draw(st.integers(1, 3))
    return TreeEnsemble(
        trees=tuple(draw(st.lists(trees(outputs), min_size=1, max_size=4))),
        rule=draw(st.sampled_from(Rule)),
        base=np.array(draw(st.lists(st.floats(-2, 2), min_size=outputs, max_size=outputs))),
        link=link,
        link_scale=draw(st.sampled_from([1.0, 0.5])),
        divisor=draw(st.sampled_from([1.0, 3.0])),
        single=draw(st.booleans()),
        zero_reach=draw(st.sampled_from([0.0, 1e-35])),
    )


def walked(ensemble: TreeEnsemble, row: np.ndarray) -> list[float]:
    """The answer to one row, by the definition."""
    seen = [float(np.float32(value)) if ensemble.single else float(value) for value in row]
    if ensemble.zero_reach:
        seen = [0.0 if abs(value) <= ensemble.zero_reach else value for value in seen]
    sums = [0.0] * ensemble.outputs
    for tree in ensemble.trees:
        node = 0
        while tree.feature[node] != LEAF:
            value, threshold = seen[tree.feature[node]], tree.threshold[node]
            if math.isnan(value):
                goes_left = bool(tree.missing_left[node])
            else:
                below = ensemble.rule is Rule.BELOW
                goes_left = value < threshold if below else value <= threshold
            node = int(tree.left[node] if goes_left else tree.right[node])
        sums = [total + leaf for total, leaf in zip(sums, tree.value[node], strict=True)]
    raw = [
        (total / ensemble.divisor + base) * ensemble.link_scale
        for total, base in zip(sums, ensemble.base, strict=True)
    ]
    if ensemble.link is Link.EXPONENTIAL:
        return [math.exp(value) for value in raw]
    if ensemble.link is Link.LOGISTIC:
        return [1 / (1 + math.exp(raw[0])), 1 / (1 + math.exp(-raw[0]))]
    if ensemble.link is Link.SOFTMAX:
        total = sum(math.exp(value) for value in raw)
        return [math.exp(value) / total for value in raw]
    return raw


def rows_of(ensemble: TreeEnsemble, random: np.random.Generator) -> np.ndarray:
    """Random rows, rows at and beside every threshold, and rows with NaN."""
    rows = [random.normal(size=COLUMNS) * 10 for _ in range(4)]
    for split in splits(ensemble):
        at = split.threshold
        single = float(np.float32(at))
        for value in (at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), single, math.nan):
            row = random.normal(size=COLUMNS) * 10
            row[split.feature] = value
            rows.append(row)
    return np.array(rows)


@settings(max_examples=150, deadline=None)
@given(ensembles(), st.integers(0, 2**32 - 1))
def test_the_graph_walks_the_trees(ensemble: TreeEnsemble, seed: int) -> None:
    """For every rule, link, rounding and direction of NaN, on rows beside every split."""
    nodes = score_nodes(ensemble, "input", "y", "t_")
    graph = inner_model(nodes, COLUMNS, {"y": 11}, RuntimeCaps())
    rows = rows_of(ensemble, np.random.default_rng(seed))
    found = OnnxSession(graph.SerializeToString()).run({"input": rows})["y"]
    expected = np.array([walked(ensemble, row) for row in rows])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_splits_come_with_the_bounds_of_the_way_there() -> None:
    """A row within the bounds reaches the split; here column 0 in (1, 5] on the way to column 1."""
    tree = Tree(
        feature=np.array([0, LEAF, 0, 1, LEAF, LEAF, LEAF]),
        threshold=np.array([1.0, 0, 5.0, 2.0, 0, 0, 0]),
        left=np.array([1, -1, 3, 5, -1, -1, -1]),
        right=np.array([2, -1, 4, 6, -1, -1, -1]),
        missing_left=np.zeros(7, dtype=bool),
        value=np.zeros((7, 1)),
    )
    ensemble = TreeEnsemble(trees=(tree,), rule=Rule.AT_MOST, base=np.zeros(1))
    last = next(split for split in splits(ensemble) if split.feature == 1)
    assert (last.threshold, dict(last.low), dict(last.high)) == (2.0, {0: 1.0}, {0: 5.0})


@pytest.mark.parametrize("value", [0.1, 16777217.0])
def test_a_threshold_between_two_float32_numbers_is_kept(value: float) -> None:
    """The float64 number is on the left of its threshold, the next one on the right."""
    tree = Tree(
        feature=np.array([0, LEAF, LEAF]),
        threshold=np.array([value, 0.0, 0.0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        missing_left=np.zeros(3, dtype=bool),
        value=np.array([[0.0], [1.0], [2.0]]),
    )
    ensemble = TreeEnsemble(trees=(tree,), rule=Rule.AT_MOST, base=np.zeros(1))
    nodes = score_nodes(ensemble, "input", "y", "t_")
    session = OnnxSession(inner_model(nodes, 1, {"y": 11}, RuntimeCaps()).SerializeToString())
    rows = np.array([[value], [np.nextafter(value, np.inf)]])
    assert session.run({"input": rows})["y"].tolist() == [[1.0], [2.0]]
