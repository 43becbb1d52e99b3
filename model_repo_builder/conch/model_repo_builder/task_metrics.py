"""Task metrics on labelled rows, named as scikit-learn names them; written in NumPy.

Definitions: scikit-learn's user guide, "Metrics and scoring", sections 3.4.4 and 3.4.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from conch.core import InvalidValueError

_LEAST_PROBABILITY: Final = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric.

    Attributes:
        name: scikit-learn's name of it.
        value: From labels[rows] and a model's answer, float[rows, columns], to the value.
        greater_is_better: Whether a larger value is the better one.
        scores: Whether it judges scores of classes; else labels or numbers.
    """

    name: str
    value: Callable[[np.ndarray, np.ndarray], float]
    greater_is_better: bool
    scores: bool = False


def metric_named(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        InvalidValueError: There is none of this name.
    """
    found = METRICS.get(name)
    if found is None:
        raise InvalidValueError(
            f"There is no task metric {name!r}.", hint=f"Known are: {', '.join(sorted(METRICS))}."
        )
    return found


def _accuracy(labels: np.ndarray, answer: np.ndarray) -> float:
    return float(np.mean(_predicted(answer) == _plain(labels)))


def _f1_macro(labels: np.ndarray, answer: np.ndarray) -> float:
    """The mean over classes of the harmonic mean of precision and recall."""
    wanted, found = _plain(labels), _predicted(answer)
    values = []
    for kind in np.unique(np.concatenate([wanted, found])):
        hit = np.count_nonzero((wanted == kind) & (found == kind))
        total = np.count_nonzero(wanted == kind) + np.count_nonzero(found == kind)
        values.append(2 * hit / total)
    return float(np.mean(values))


def _roc_auc(labels: np.ndarray, answer: np.ndarray) -> float:
    """The share of pairs of a positive and a negative row in the right order; ties count half.

    Several classes: the mean over classes of each against the rest.
    """
    wanted = _plain(labels)
    if answer.ndim < 2 or answer.shape[1] <= 2:
        score = answer.reshape(len(answer), -1)[:, -1]
        return _pairs_in_order(score, wanted == np.unique(wanted)[-1])
    kinds = [kind for kind in range(answer.shape[1]) if 0 < np.mean(wanted == kind) < 1]
    return float(np.mean([_pairs_in_order(answer[:, kind], wanted == kind) for kind in kinds]))


def _pairs_in_order(score: np.ndarray, positive: np.ndarray) -> float:
    from .decisions import ranks

    count = int(positive.sum())
    rest = len(positive) - count
    if not count or not rest:
        return float("nan")
    above = ranks(score)[positive].sum() - count * (count - 1) / 2
    return float(above / (count * rest))


def _log_loss(labels: np.ndarray, answer: np.ndarray) -> float:
    scores = np.clip(answer.astype(np.float64), _LEAST_PROBABILITY, 1)
    wanted = _plain(labels).astype(np.int64)
    return float(-np.mean(np.log(scores[np.arange(len(scores)), wanted])))


def _rmse(labels: np.ndarray, answer: np.ndarray) -> float:
    return float(np.sqrt(np.mean((_numbers(answer) - _numbers(labels)) ** 2)))


def _mae(labels: np.ndarray, answer: np.ndarray) -> float:
    return float(np.mean(np.abs(_numbers(answer) - _numbers(labels))))


def _r2(labels: np.ndarray, answer: np.ndarray) -> float:
    wanted = _numbers(labels)
    left = np.sum((_numbers(answer) - wanted) ** 2)
    return float(1 - left / np.sum((wanted - wanted.mean()) ** 2))


def _predicted(answer: np.ndarray) -> np.ndarray:
    """The label of each row: the best column, or the one value that there is."""
    if answer.ndim == 2 and answer.shape[1] > 1:
        best: np.ndarray = answer.argmax(axis=1)
        return best
    flat = answer.reshape(-1)
    if flat.dtype.kind == "f":  # one score: the probability of the second class
        above: np.ndarray = (flat > 0.5).astype(np.int64)
        return above
    return _plain(flat)


def _plain(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)
    if flat.dtype.kind in "OSU":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in flat])
    return flat


def _numbers(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).astype(np.float64)


METRICS: Final[Mapping[str, Metric]] = {
    one.name: one
    for one in (
        Metric(name="accuracy", value=_accuracy, greater_is_better=True),
        Metric(name="f1_macro", value=_f1_macro, greater_is_better=True),
        Metric(name="roc_auc", value=_roc_auc, greater_is_better=True, scores=True),
        Metric(name="log_loss", value=_log_loss, greater_is_better=False, scores=True),
        Metric(name="rmse", value=_rmse, greater_is_better=False),
        Metric(name="mae", value=_mae, greater_is_better=False),
        Metric(name="r2", value=_r2, greater_is_better=True),
    )
}
"""By name."""
