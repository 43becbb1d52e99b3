"""What the webhook refuses of an autoscaler's settings: Knative's own, an HPA, KEDA.

Source: `pkg/apis/serving/v1beta1/inference_service_validation.go` of kserve/kserve, 0.15.2 to
0.20.0. Settings of an HPA and of KEDA are checked only where the annotation names the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from ..quantities import quantity_or_none
from ..structural import Path
from .reading import Fields, at, fields, integer, items, text
from .scaling import CLASS_ANNOTATION, CLASSES, components_in
from .subjects import Hit, Subject, refused

_MEBIBYTE: Final = Decimal(1024 * 1024)


def _class(subject: Subject) -> Iterator[Hit]:
    value = subject.annotations.get(CLASS_ANNOTATION)
    if isinstance(value, str) and value not in CLASSES:
        yield Hit(
            path=("metadata", "annotations", CLASS_ANNOTATION),
            message=f"is {value!r}; known are {', '.join(CLASSES)}",
        )


def _knative_strategy(subject: Subject) -> Iterator[Hit]:
    for path, component in components_in(subject, standard=False):
        if "deploymentStrategy" in component:
            yield Hit(
                path=(*path, "deploymentStrategy"),
                message="is for Standard mode only",
                fix="Remove it; Knative replaces pods by revision.",
            )


def _knative_metric(subject: Subject) -> Iterator[Hit]:
    for path, component in components_in(subject, standard=False):
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


def _with_class(subject: Subject, name: str) -> Iterator[tuple[Path, Fields]]:
    """Yield components where the webhook checks an autoscaler: only where its class is written."""
    if subject.annotations.get(CLASS_ANNOTATION) == name:
        yield from components_in(subject, standard=True)


def _knative_hpa(subject: Subject) -> bool:
    name = "autoscaling.knative.dev/class"
    return subject.annotations.get(name) == "hpa.autoscaling.knative.dev"


RULES: Final = (
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
)
