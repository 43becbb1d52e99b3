"""Replicas and autoscaling of an InferenceService: what is refused and what is ignored.

Source: `inference_service_validation.go` for the refusals; `reconcilers/{hpa,keda,knative}` for
what is ignored; kserve/kserve 0.15.2 to 0.20.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from ..quantities import quantity_or_none
from ..structural import Path
from .subjects import Fields, Hit, Subject, at, fields, ignored, integer, items, refused, text

CLASS_ANNOTATION: Final = "serving.kserve.io/autoscalerClass"
_CLASSES: Final = ("hpa", "external", "keda", "none")
_SCALING_FIELDS: Final = ("scaleTarget", "scaleMetric", "autoScaling")
_MEBIBYTE: Final = Decimal(1024 * 1024)


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


def _class(subject: Subject) -> Iterator[Hit]:
    value = subject.annotations.get(CLASS_ANNOTATION)
    if isinstance(value, str) and value not in _CLASSES:
        yield Hit(
            path=("metadata", "annotations", CLASS_ANNOTATION),
            message=f"is {value!r}; known are {', '.join(_CLASSES)}",
        )


def _knative_strategy(subject: Subject) -> Iterator[Hit]:
    for path, component in _components(subject, standard=False):
        if "deploymentStrategy" in component:
            yield Hit(
                path=(*path, "deploymentStrategy"),
                message="is for Standard mode only",
                fix="Remove it; Knative replaces pods by revision.",
            )


def _knative_metric(subject: Subject) -> Iterator[Hit]:
    for path, component in _components(subject, standard=False):
        metric = component.get("scaleMetric")
        if metric not in (None, "concurrency", "rps") and not _knative_hpa(subject):
            yield Hit(
                path=(*path, "scaleMetric"),
                message=f"is {metric!r}; Knative scales by concurrency or rps",
            )
        target = integer(component.get("scaleTarget"))
        if metric == "rps" and target is not None and target < 1:
            yield Hit(path=(*path, "scaleTarget"), message=f"is {target}; rps needs 1 or more")


def _hpa_metric(subject: Subject) -> Iterator[Hit]:
    for path, component in _with_class(subject, "hpa"):
        metric = component.get("scaleMetric")
        if metric not in (None, "cpu", "memory"):
            yield Hit(
                path=(*path, "scaleMetric"),
                message=f"is {metric!r}; an HPA scales by cpu or memory",
                fix="Use KEDA for other metrics.",
            )
        for index, entry in enumerate(items(at(component, "autoScaling", "metrics"))):
            if fields(entry).get("type") != "Resource":
                yield Hit(
                    path=(*path, "autoScaling", "metrics", index, "type"),
                    message="is not Resource, the only type that an HPA takes here",
                    fix=f"Set the annotation {CLASS_ANNOTATION} to keda.",
                )


def _hpa_target(subject: Subject) -> Iterator[Hit]:
    for path, component in _with_class(subject, "hpa"):
        target = integer(component.get("scaleTarget"))
        if target is not None and not 1 <= target <= 100:
            yield Hit(
                path=(*path, "scaleTarget"),
                message=f"is {target}; it is a percentage of 1 to 100, for memory too",
            )


def _keda_metric(subject: Subject) -> Iterator[Hit]:
    for path, component in _with_class(subject, "keda"):
        if "scaleMetric" in component:
            yield Hit(
                path=(*path, "scaleMetric"),
                message="is not taken with KEDA",
                fix="Write autoScaling.metrics instead.",
            )


def _keda_metrics(subject: Subject) -> Iterator[Hit]:
    for path, component in _with_class(subject, "keda"):
        for index, entry in enumerate(items(at(component, "autoScaling", "metrics"))):
            where = (*path, "autoScaling", "metrics", index)
            yield from _keda_source(where, fields(entry))


def _keda_source(path: Path, metric: Fields) -> Iterator[Hit]:
    name = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}.get(
        text(metric.get("type"))
    )
    source = fields(metric.get(name)) if name else {}
    if not name or not source:
        yield Hit(
            path=path,
            message=f"is of type {metric.get('type')!r} without the field of that name",
            fix="Give type Resource, External or PodMetric and its field.",
        )
        return
    target = fields(source.get("target"))
    if name == "resource":
        yield from _keda_resource((*path, name), text(source.get("name")), target)
    else:
        if not text(at(source, "metric", "query")):
            yield Hit(path=(*path, name, "metric", "query"), message="is empty")
        if target.get("value") is None:
            yield Hit(path=(*path, name, "target", "value"), message="is missing")


def _keda_resource(path: Path, resource: str, target: Fields) -> Iterator[Hit]:
    kind = target.get("type")
    if resource == "cpu" and kind != "Utilization":
        yield Hit(path=(*path, "target", "type"), message="must be Utilization for cpu")
    if resource == "memory" and kind not in ("AverageValue", "Utilization"):
        yield Hit(
            path=(*path, "target", "type"), message="must be AverageValue or Utilization for memory"
        )
    if resource == "memory" and kind == "AverageValue":
        size = quantity_or_none(target.get("averageValue"))
        if size is None or size < _MEBIBYTE:
            yield Hit(path=(*path, "target", "averageValue"), message="is missing or under 1Mi")


def _max_unset(subject: Subject) -> Iterator[Hit]:
    if _class_of(subject) in ("external", "none"):
        return
    for path, component in _components(subject, standard=True):
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
    for path, component in _components(subject, standard=True):
        if integer(component.get("minReplicas")) == 0:
            yield Hit(
                path=(*path, "minReplicas"),
                message="is 0, which Standard mode raises to 1",
                fix="Use Knative mode to scale to zero, or write 1.",
            )


def _standard_metric(subject: Subject) -> Iterator[Hit]:
    if CLASS_ANNOTATION in subject.annotations:
        return
    for path, component in _components(subject, standard=True):
        if component.get("scaleMetric") in ("concurrency", "rps"):
            yield Hit(
                path=(*path, "scaleMetric"),
                message="gives an HPA without any metric: Standard mode knows cpu and memory",
                fix="Use cpu or memory, or Knative mode.",
            )


def _standard_concurrency(subject: Subject) -> Iterator[Hit]:
    for path, component in _components(subject, standard=True):
        if integer(component.get("containerConcurrency")):
            yield Hit(
                path=(*path, "containerConcurrency"),
                message="is ignored in Standard mode",
                fix="Limit the queue in the model's own configuration.",
            )


def _knative_ignores(subject: Subject) -> Iterator[Hit]:
    for path, component in _components(subject, standard=False):
        if "autoScaling" in component:
            yield Hit(
                path=(*path, "autoScaling"),
                message="is ignored in Knative mode",
                fix="Use scaleMetric and scaleTarget.",
            )
    value = subject.annotations.get(CLASS_ANNOTATION)
    if not subject.standard and value in _CLASSES:
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


def _components(subject: Subject, *, standard: bool) -> Iterator[tuple[Path, Fields]]:
    if subject.standard is standard:
        yield from subject.components()


def _with_class(subject: Subject, name: str) -> Iterator[tuple[Path, Fields]]:
    """Yield components where the webhook checks an autoscaler: only where its class is written."""
    if subject.annotations.get(CLASS_ANNOTATION) == name:
        yield from _components(subject, standard=True)


def _class_of(subject: Subject) -> str:
    return text(subject.annotations.get(CLASS_ANNOTATION)) or "hpa"


def _knative_hpa(subject: Subject) -> bool:
    name = "autoscaling.knative.dev/class"
    return subject.annotations.get(name) == "hpa.autoscaling.knative.dev"


def _replicas(component: Fields) -> tuple[int, int]:
    """Return the least and most replicas; 0 as the most means that none is given."""
    low, high = integer(component.get("minReplicas")), integer(component.get("maxReplicas"))
    return (1 if low is None else low), high or 0


RULES: Final = (
    refused("replicas-negative", "`minReplicas` or `maxReplicas` is below 0.", _replicas_negative),
    refused("replicas-order", "`minReplicas` is above `maxReplicas`.", _replicas_order),
    refused("autoscaler-class", "The autoscaler class is unknown.", _class),
    refused("knative-strategy", "`deploymentStrategy` stands in Knative mode.", _knative_strategy),
    refused(
        "knative-scale-metric",
        "Knative mode scales by another metric than concurrency or rps.",
        _knative_metric,
    ),
    refused("hpa-metric", "An HPA scales by another metric than cpu or memory.", _hpa_metric),
    refused("hpa-target", "An HPA's `scaleTarget` is outside 1 to 100.", _hpa_target),
    refused("keda-scale-metric", "`scaleMetric` stands beside KEDA.", _keda_metric),
    refused("keda-metrics", "A metric for KEDA is incomplete or of a wrong type.", _keda_metrics),
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
