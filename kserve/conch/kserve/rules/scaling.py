"""Replicas of an InferenceService, and scaling settings that its mode ignores.

Source: `pkg/apis/serving/v1beta1/component.go` for the refusals; `reconcilers/{hpa,keda,knative}`
for what is ignored; kserve/kserve 0.15.2 to 0.20.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..structural import Path
from .reading import Fields, integer, text
from .subjects import Hit, Subject, ignored, refused

CLASS_ANNOTATION: Final = "serving.kserve.io/autoscalerClass"
CLASSES: Final = ("hpa", "external", "keda", "none")
_SCALING_FIELDS: Final = ("scaleTarget", "scaleMetric", "autoScaling")


def _replicas_negative(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        for name in ("minReplicas", "maxReplicas"):
            value = integer(component.get(name))
            if value is not None and value < 0:
                yield Hit(path=(*path, name), message=f"is {value}, below 0")


def _replicas_order(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        low, high = _replicas(component)
        if high and low > high:
            yield Hit(
                path=(*path, "maxReplicas"),
                message=f"is {high}, below minReplicas, which is {low}",
                fix="Raise maxReplicas; minReplicas is 1 where it is not given.",
            )


def _max_unset(subject: Subject) -> Iterator[Hit]:
    if _class_of(subject) in ("external", "none"):
        return
    for path, component in components_in(subject, standard=True):
        low, high = _replicas(component)
        wanted = [name for name in _SCALING_FIELDS if name in component]
        if wanted and high <= low and high >= 0:
            yield Hit(
                path=(*path, wanted[0]),
                message=f"never acts: maxReplicas is {high or 'not given'}, so it equals "
                f"minReplicas, which is {max(low, 1)}",
                fix="Give maxReplicas above minReplicas; only Knative reads 0 as no limit.",
            )


def _zero(subject: Subject) -> Iterator[Hit]:
    if _class_of(subject) != "hpa":
        return
    for path, component in components_in(subject, standard=True):
        if integer(component.get("minReplicas")) == 0:
            yield Hit(
                path=(*path, "minReplicas"),
                message="is 0, which Standard mode raises to 1",
                fix="Use Knative mode to scale to zero, or write 1.",
            )


def _standard_metric(subject: Subject) -> Iterator[Hit]:
    if CLASS_ANNOTATION in subject.annotations:
        return
    for path, component in components_in(subject, standard=True):
        if component.get("scaleMetric") in ("concurrency", "rps"):
            yield Hit(
                path=(*path, "scaleMetric"),
                message="gives an HPA without any metric: Standard mode knows cpu and memory",
                fix="Use cpu or memory, or Knative mode.",
            )


def _standard_concurrency(subject: Subject) -> Iterator[Hit]:
    for path, component in components_in(subject, standard=True):
        if integer(component.get("containerConcurrency")):
            yield Hit(
                path=(*path, "containerConcurrency"),
                message="is ignored in Standard mode",
                fix="Limit the queue in the model's own configuration.",
            )


def _knative_ignores(subject: Subject) -> Iterator[Hit]:
    for path, component in components_in(subject, standard=False):
        if "autoScaling" in component:
            yield Hit(
                path=(*path, "autoScaling"),
                message="is ignored in Knative mode",
                fix="Use scaleMetric and scaleTarget.",
            )
    value = subject.annotations.get(CLASS_ANNOTATION)
    if not subject.standard and value in CLASSES:
        yield Hit(
            path=("metadata", "annotations", CLASS_ANNOTATION),
            message="is ignored in Knative mode, which has its own autoscaler",
            fix="Remove it, or state Standard mode.",
        )


def _standard_ignores(subject: Subject) -> Iterator[Hit]:
    if not subject.standard:
        return
    for name in subject.annotations:
        if name.startswith("autoscaling.knative.dev/"):
            yield Hit(
                path=("metadata", "annotations", name),
                message="is ignored in Standard mode",
                fix="Use minReplicas, maxReplicas, scaleMetric and scaleTarget.",
            )


def components_in(subject: Subject, *, standard: bool) -> Iterator[tuple[Path, Fields]]:
    """Yield the components of a subject in Standard or Knative mode; none of the other mode."""
    if subject.standard is standard:
        yield from subject.components()


def _class_of(subject: Subject) -> str:
    return text(subject.annotations.get(CLASS_ANNOTATION)) or "hpa"


def _replicas(component: Fields) -> tuple[int, int]:
    """Return the least and most replicas; 0 as the most means that none is given."""
    low, high = integer(component.get("minReplicas")), integer(component.get("maxReplicas"))
    return (1 if low is None else low), high or 0


RULES: Final = (
    refused("replicas-negative", "`minReplicas` or `maxReplicas` is below 0.", _replicas_negative),
    refused("replicas-order", "`minReplicas` is above `maxReplicas`.", _replicas_order),
    ignored(
        "standard-max-replicas",
        "Scaling is asked for without room: `maxReplicas` is not above `minReplicas`.",
        _max_unset,
    ),
    ignored("standard-scale-to-zero", "`minReplicas: 0` becomes 1 under an HPA.", _zero),
    ignored(
        "standard-scale-metric",
        "`scaleMetric` concurrency or rps gives an HPA without a metric.",
        _standard_metric,
    ),
    ignored("standard-concurrency", "`containerConcurrency` is ignored.", _standard_concurrency),
    ignored(
        "knative-autoscaling",
        "`autoScaling` or the autoscaler class is ignored in Knative mode.",
        _knative_ignores,
    ),
    ignored(
        "standard-knative-annotation",
        "A Knative autoscaling annotation is ignored in Standard mode.",
        _standard_ignores,
    ),
)
