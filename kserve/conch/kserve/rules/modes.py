"""Modes, storage schemes and rewritten fields of an InferenceService: what goes unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ..versions import MODE_ANNOTATION, MODEL_MESH, DeploymentMode, KServeVersion
from .reading import FRAMEWORKS, fields, implementation, storage_uri, text
from .subjects import Hit, Source, Subject, ignored, noted

_MODE_PATH: Final = ("metadata", "annotations", MODE_ANNOTATION)
_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://")
_SCHEMES: Final = {"gs", "s3", "pvc", "file", "http", "https", "hdfs", "webhdfs", "oci", "hf"} | {
    "abfs",
    "modelscope",
}
_LATER_SCHEMES: Final = {
    "oci+native": KServeVersion.V0_20,
    "oci+fetch": KServeVersion.V0_21,
}
_KNATIVE_ONLY: Final = (
    "serving.kserve.io/enable-tag-routing",
    "serving.knative.dev/rollout-duration",
)
_FLAGGED: Final = {
    "affinity": "affinity",
    "dnsConfig": "dnsconfig",
    "dnsPolicy": "dnspolicy",
    "hostAliases": "hostaliases",
    "hostIPC": "hostipc",
    "hostNetwork": "hostnetwork",
    "hostPID": "hostpid",
    "initContainers": "init-containers",
    "nodeSelector": "nodeselector",
    "priorityClassName": "priorityclassname",
    "runtimeClassName": "runtimeclassname",
    "schedulerName": "schedulername",
    "securityContext": "securitycontext",
    "shareProcessNamespace": "shareprocessnamespace",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologyspreadconstraints",
}
"""Pod fields that Knative takes only with a flag, off by default (Knative `config-features`)."""


def _unknown(subject: Subject) -> Iterator[Hit]:
    value = subject.annotations.get(MODE_ANNOTATION)
    if value is not None and not subject.explicit_mode and value != MODEL_MESH:
        known = ", ".join(mode.annotation(subject.version) for mode in DeploymentMode)
        yield Hit(
            path=_MODE_PATH,
            message=f"is {value!r}, which this version ignores in favour of its default",
            fix=f"Write one of {known}.",
        )


def _model_mesh(subject: Subject) -> Iterator[Hit]:
    if subject.annotations.get(MODE_ANNOTATION) == MODEL_MESH:
        yield Hit(
            path=_MODE_PATH,
            message="selects ModelMesh, which is no longer developed",
            fix="Use Standard mode with several models in one repository.",
        )


def _unstated(subject: Subject) -> Iterator[Hit]:
    if MODE_ANNOTATION not in subject.annotations:
        yield Hit(
            path=("metadata", "annotations"),
            message=f"does not state the mode; {subject.mode} is assumed",
            fix=f'Add {MODE_ANNOTATION}: "{subject.mode.annotation(subject.version)}".',
        )


def _old_name(subject: Subject) -> Iterator[Hit]:
    wanted = subject.mode.annotation(subject.version)
    if subject.explicit_mode and subject.annotations.get(MODE_ANNOTATION) != wanted:
        yield Hit(
            path=_MODE_PATH,
            message="is an old name, which a webhook rewrites: every comparison shows drift",
            fix=f"Write {wanted}.",
        )


def _rewritten(subject: Subject) -> Iterator[Hit]:
    name, _ = implementation(fields(subject.get("spec", "predictor")))
    if name in FRAMEWORKS:
        yield Hit(
            path=("spec", "predictor", name),
            message="is rewritten to `model` by a webhook: every comparison shows drift",
            fix=f"Write model with modelFormat.name: {name}.",
        )


def _old_triton(subject: Subject) -> Iterator[Hit]:
    path = ("spec", "predictor")
    name, model = implementation(fields(subject.get(*path)))
    form = "triton" if name == "triton" else text(fields(model.get("modelFormat")).get("name"))
    pinned = any(text(model.get(field)) for field in ("runtimeVersion", "runtime", "image"))
    if form == "triton" and not pinned:
        yield Hit(
            path=(*path, name),
            message="runs KServe's built-in runtime with Triton 23.05",
            fix="Give runtimeVersion, or a serving runtime of your own.",
        )


def _scheme_too_new(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        match = _SCHEME.match(storage_uri(component))
        since = _LATER_SCHEMES.get(match[1]) if match else None
        if match and since and not subject.version.at_least(since):
            yield Hit(
                path=(*path, implementation(component)[0], "storageUri"),
                message=f"uses {match[1]}, known from {since} on; nothing checks it at admission",
                fix="Use oci, or a newer KServe.",
            )


def _scheme_unknown(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        match = _SCHEME.match(storage_uri(component))
        if match and match[1] not in _SCHEMES | _LATER_SCHEMES.keys():
            yield Hit(
                path=(*path, implementation(component)[0], "storageUri"),
                message=f"uses {match[1]}, which only a ClusterStorageContainer can add",
            )


def _oci_switch(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        if storage_uri(component).startswith("oci"):
            yield Hit(
                path=(*path, implementation(component)[0], "storageUri"),
                message="needs enableModelcar or enableOciModelSupport, both off as shipped",
            )


def _knative_only(subject: Subject) -> Iterator[Hit]:
    for name in _KNATIVE_ONLY:
        if subject.standard and name in subject.annotations:
            yield Hit(
                path=("metadata", "annotations", name),
                message="is ignored in Standard mode",
                fix="Remove it.",
            )


def _flagged(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        for name, flag in _FLAGGED.items():
            if not subject.standard and name in component:
                yield Hit(
                    path=(*path, name),
                    message=f"is refused by Knative unless kubernetes.podspec-{flag} is enabled",
                )


RULES: Final = (
    ignored("mode-unknown", "The mode's name is unknown to the version.", _unknown),
    ignored("mode-modelmesh", "The mode is ModelMesh.", _model_mesh, source=Source.PRACTICE),
    noted("mode-unstated", "The object does not state its mode.", _unstated),
    noted("mode-old-name", "The mode is written by its old name.", _old_name),
    noted("predictor-rewritten", "The predictor is a field from before `model`.", _rewritten),
    noted("triton-built-in", "Triton runs in KServe's built-in, old image.", _old_triton),
    ignored("storage-scheme-new", "The storage scheme is newer than KServe.", _scheme_too_new),
    noted("storage-scheme", "The storage scheme is not one of KServe's own.", _scheme_unknown),
    noted(
        "storage-oci-switch",
        "OCI storage needs a switch of KServe's configuration.",
        _oci_switch,
    ),
    ignored("standard-annotation", "An annotation of Knative mode is ignored.", _knative_only),
    noted(
        "knative-feature",
        "A pod field needs a feature flag of Knative.",
        _flagged,
        source=Source.KNATIVE,
    ),
)
