"""Judging both models by a task metric on the labelled rows of a reference data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .output_reports import Answer, Answered
from .references import CASE
from .reports import MetricReport
from .requests import TaskMetric
from .task_metrics import Metric, metric_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Labels of the reference rows.

    Attributes:
        labels: One for each row of the cases `reference-1`, `reference-2`, ...
        metric: What both models are judged by.
        allowed_loss: How much worse the converted model may be.
    """

    labels: np.ndarray
    metric: Metric
    allowed_loss: float


def labelled_rows(task: TaskMetric | None, labels: np.ndarray | None) -> Labelled | None:
    """Return the labels with the metric that a person named; None where none is named.

    Raises:
        InvalidValueError: There is no such metric.
    """
    if task is None or labels is None:
        return None
    return Labelled(labels=labels, metric=metric_named(task.name), allowed_loss=task.allowed_loss)


def metric_report(
    labelled: Labelled, answered: Sequence[Answered], found: Sequence[Answer]
) -> MetricReport | None:
    """Judge both models; None where one of them did not answer all reference rows."""
    pairs = [
        (item.expected, answer)
        for item, answer in zip(answered, found, strict=True)
        if item.case.name.startswith(CASE)
    ]
    if not pairs:
        return None
    name = _judged_output(labelled.metric, pairs[0][0])
    theirs, ours = [], []
    for expected, answer in pairs:
        if isinstance(answer, str) or name not in answer:
            return None
        theirs.append(expected[name])
        ours.append(answer[name])
    source, converted = np.concatenate(theirs), np.concatenate(ours)
    if not len(labelled.labels) == len(source) == len(converted):
        return None
    value = labelled.metric.value
    return MetricReport(
        name=labelled.metric.name,
        output=name,
        rows=len(source),
        source=value(labelled.labels, source),
        converted=value(labelled.labels, converted),
        allowed_loss=labelled.allowed_loss,
        greater_is_better=labelled.metric.greater_is_better,
    )


def _judged_output(metric: Metric, answer: Mapping[str, np.ndarray]) -> str:
    """The output that a metric is about: scores or labels by their names, else the first."""
    wanted = "probabilities" if metric.scores else "label"
    return wanted if wanted in answer else next(iter(answer))
