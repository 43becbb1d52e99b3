"""Task metrics are what scikit-learn computes under the same names."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from conch.core import InvalidValueError
from conch.model_repo_builder.decisions import drift, near_border, rank_correlation
from conch.model_repo_builder.task_metrics import METRICS, metric_named

random = np.random.default_rng(0)
LABELS = random.integers(0, 3, 200)
SCORES = random.dirichlet(np.ones(3), 200) * 0.7 + 0.3 * np.eye(3)[LABELS]
TARGETS = random.normal(size=200)
FOUND = TARGETS + 0.3 * random.normal(size=200)


def value(name: str, labels: np.ndarray, answer: np.ndarray) -> float:
    return metric_named(name).value(labels, answer)


def test_metrics_of_labels_are_scikit_learns() -> None:
    """Accuracy, F1, log loss and the area under the curve, of three classes and of two."""
    best = SCORES.argmax(axis=1)
    assert value("accuracy", LABELS, SCORES) == pytest.approx(metrics.accuracy_score(LABELS, best))
    f1 = metrics.f1_score(LABELS, best, average="macro")
    assert value("f1_macro", LABELS, SCORES) == pytest.approx(f1)
    assert value("log_loss", LABELS, SCORES) == pytest.approx(metrics.log_loss(LABELS, SCORES))
    area = metrics.roc_auc_score(LABELS, SCORES, multi_class="ovr")
    assert value("roc_auc", LABELS, SCORES) == pytest.approx(area)
    two, score = LABELS % 2, np.round(SCORES[:, 1], 1)  # rounded: ties
    area = metrics.roc_auc_score(two, score)
    assert value("roc_auc", two, score[:, None]) == pytest.approx(area)


def test_metrics_of_numbers_are_scikit_learns() -> None:
    """Root mean squared and mean absolute error, and the explained share."""
    rmse = metrics.root_mean_squared_error(TARGETS, FOUND)
    assert value("rmse", TARGETS, FOUND[:, None]) == pytest.approx(rmse)
    assert value("mae", TARGETS, FOUND) == pytest.approx(
        metrics.mean_absolute_error(TARGETS, FOUND)
    )
    assert value("r2", TARGETS, FOUND) == pytest.approx(metrics.r2_score(TARGETS, FOUND))


def test_text_labels_are_compared_as_text() -> None:
    """Bytes on the wire are the text of the label column."""
    answer = np.array([[b"yes"], [b"no"]], dtype=object)
    assert value("accuracy", np.array(["yes", "yes"]), answer) == 0.5


def test_an_unknown_metric_is_named() -> None:
    """With those that there are."""
    with pytest.raises(InvalidValueError, match="no task metric 'acuracy'") as error:
        metric_named("acuracy")
    assert all(name in error.value.hint for name in METRICS)


def test_rank_correlation_is_spearmans() -> None:
    """The least over the columns, ties at their mean rank."""
    from scipy.stats import spearmanr

    want = np.round(random.normal(size=(50, 2)), 1)
    have = want + random.normal(size=(50, 2))
    expected = min(spearmanr(a, b).statistic for a, b in zip(want.T, have.T, strict=True))
    assert rank_correlation(want, have) == pytest.approx(expected, abs=1e-5)
    assert rank_correlation(want[:5], have[:5]) is None


def test_drift_and_nearness() -> None:
    """Half of the sum of absolute differences; rows whose best two are within a twentieth."""
    rows = np.array([[0.5, 0.5], [0.9, 0.1]])
    assert drift(rows, rows[:, ::-1]) == pytest.approx(0.4)
    assert near_border(rows) == 1
