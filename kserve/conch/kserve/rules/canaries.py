"""Canary fields: refused, ignored, or not routed, depending on version and mode.

`canaryTrafficPercent` belongs to Knative mode. `spec.canary[]` belongs to Standard mode from
KServe 0.20 on, and 0.20 itself creates its pods without giving them traffic (kserve pull requests
5672, 5912, 5984; issues 4074, 5335).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..structural import Path
from ..versions import KServeVersion
from .reading import Fields, fields, implementation, integer, items, text
from .subjects import Hit, Subject, ignored, noted, refused

_FIXED: Final = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")


def _percent_ignored(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        if subject.standard and "canaryTrafficPercent" in component:
            yield Hit(
                path=(*path, "canaryTrafficPercent"),
                message="is ignored in Standard mode: all traffic goes to the new model",
                fix=_standard_way(subject.version),
            )


def _standard_way(version: KServeVersion) -> str:
    if version.at_least(KServeVersion.V0_21):
        return "Use spec.canary with Gateway API, or one InferenceService per version and a route."
    return "Use one InferenceService per version and an HTTPRoute with weights."


def _percent_range(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        value = integer(component.get("canaryTrafficPercent"))
        if value is not None and not 0 <= value <= 100:
            yield Hit(
                path=(*path, "canaryTrafficPercent"),
                message=f"is {value}; nothing checks it at admission and no split can have it",
                fix="Use 0 to 100.",
            )


def _percent_twice(subject: Subject) -> Iterator[Hit]:
    having = [path for path, body in subject.components() if "canaryTrafficPercent" in body]
    for path in having[1:]:
        yield Hit(
            path=(*path, "canaryTrafficPercent"),
            message="splits by itself: a new transformer may call the old predictor",
            fix="Roll out one component at a time (kserve issue 1669).",
        )


def _mode(subject: Subject) -> Iterator[Hit]:
    if any(subject.canaries()) and not subject.standard:
        yield Hit(
            path=("spec", "canary"),
            message="is for Standard mode only",
            fix="Use spec.predictor.canaryTrafficPercent in Knative mode.",
        )


def _stable_model(subject: Subject) -> Iterator[Hit]:
    name, framework = implementation(fields(subject.get("spec", "predictor")))
    if any(subject.canaries()) and name != "model" and not text(framework.get("storageUri")):
        yield Hit(
            path=("spec", "canary"),
            message="needs a stable predictor with a model",
            fix="Give spec.predictor.model.",
        )


def _name(subject: Subject) -> Iterator[Hit]:
    taken = {text(fields(subject.get("spec", "predictor")).get("name"))}
    for path, predictor in _predictors(subject):
        name = text(predictor.get("name"))
        if not name:
            yield Hit(path=(*path, "name"), message="is missing", fix="Give each canary a name.")
        elif name in taken:
            yield Hit(
                path=(*path, "name"),
                message=f"is {name!r}, which another predictor has",
                fix="Give each canary a name of its own.",
            )
        taken.add(name)


def _sum(subject: Subject) -> Iterator[Hit]:
    percents = [integer(canary.get("trafficPercent")) or 0 for _, canary in subject.canaries()]
    if sum(percents) > 100:
        yield Hit(
            path=("spec", "canary"), message=f"has percentages that add up to {sum(percents)}"
        )


def _implementation(subject: Subject) -> Iterator[Hit]:
    for path, predictor in _predictors(subject):
        if not implementation(predictor)[0] and not items(predictor.get("containers")):
            yield Hit(path=path, message="has no implementation", fix="Give `model`.")


def _fixed_replicas(subject: Subject) -> Iterator[Hit]:
    for path, predictor in _predictors(subject):
        for name in _FIXED:
            if predictor.get(name):
                yield Hit(
                    path=(*path, name),
                    message="is not taken: a canary has a fixed number of replicas",
                    fix="Give minReplicas, or nothing for a share of the stable ones.",
                )


def _worker(subject: Subject) -> Iterator[Hit]:
    for path, predictor in _predictors(subject):
        if "workerSpec" in predictor:
            yield Hit(path=(*path, "workerSpec"), message="is not supported for a canary")


def _replicas_above_stable(subject: Subject) -> Iterator[Hit]:
    stable = integer(subject.get("spec", "predictor", "minReplicas"))
    most = 1 if stable is None else stable
    for path, predictor in _predictors(subject):
        value = integer(predictor.get("minReplicas"))
        if value is not None and value > most:
            yield Hit(
                path=(*path, "minReplicas"),
                message=f"is {value}, above the stable predictor's {most}",
            )


def _unrouted(subject: Subject) -> Iterator[Hit]:
    if any(subject.canaries()) and subject.version is KServeVersion.V0_20:
        yield Hit(
            path=("spec", "canary"),
            message="gets pods but no traffic in 0.20, and takes replicas from the stable ones",
            fix="Use 0.21, or one InferenceService per version and an HTTPRoute with weights.",
        )


def _needs_gateway(subject: Subject) -> Iterator[Hit]:
    if any(subject.canaries()) and subject.standard:
        yield Hit(
            path=("spec", "canary"),
            message="is routed only with enableGatewayApi: true; a plain Ingress sends all "
            "traffic to the stable predictor",
        )


def _skips_transformer(subject: Subject) -> Iterator[Hit]:
    others = [path for path, _ in subject.components() if path[-1] != "predictor"]
    if any(subject.canaries()) and others:
        yield Hit(
            path=("spec", "canary"),
            message="may skip the transformer: weights were put on every rule of the route",
            fix="Check that your version holds kserve pull request 5944, or split otherwise.",
        )


def _predictors(subject: Subject) -> Iterator[tuple[Path, Fields]]:
    for path, canary in subject.canaries():
        yield (*path, "predictor"), fields(canary.get("predictor"))


_SINCE: Final = KServeVersion.V0_20

RULES: Final = (
    ignored(
        "canary-percent-ignored",
        "`canaryTrafficPercent` does nothing in Standard mode.",
        _percent_ignored,
    ),
    ignored("canary-percent-range", "`canaryTrafficPercent` is outside 0 to 100.", _percent_range),
    ignored(
        "canary-percent-twice",
        "Two components have a percentage and split independently.",
        _percent_twice,
    ),
    refused("canary-mode", "`spec.canary` stands in Knative mode.", _mode, since=_SINCE),
    refused(
        "canary-stable-model", "`spec.canary` has no stable model.", _stable_model, since=_SINCE
    ),
    refused("canary-name", "A canary's name is missing or taken.", _name, since=_SINCE),
    refused("canary-sum", "The percentages add up to more than 100.", _sum, since=_SINCE),
    refused(
        "canary-implementation", "A canary has no implementation.", _implementation, since=_SINCE
    ),
    refused(
        "canary-fixed-replicas", "A canary asks for autoscaling.", _fixed_replicas, since=_SINCE
    ),
    refused("canary-worker", "A canary has a `workerSpec`.", _worker, since=_SINCE),
    refused(
        "canary-replicas",
        "A canary has more replicas than the stable predictor.",
        _replicas_above_stable,
        since=_SINCE,
    ),
    ignored("canary-unrouted", "0.20 gives a canary no traffic.", _unrouted, since=_SINCE),
    noted("canary-gateway", "A canary needs Gateway API.", _needs_gateway, since=_SINCE),
    ignored(
        "canary-transformer",
        "A canary beside a transformer or explainer may skip it.",
        _skips_transformer,
        since=_SINCE,
    ),
)
