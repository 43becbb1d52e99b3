"""ServingRuntime, ClusterServingRuntime and TrainedModel: what their webhooks refuse.

Source: `pkg/webhook/admission/servingruntime/servingruntime_webhook.go` and
`pkg/apis/serving/v1alpha1/trainedmodel_webhook.go` of kserve/kserve.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .reading import fields, integer, items, text
from .subjects import Hit, Subject, noted, refused

_TRAINED_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_TRAINED_SCHEMES: Final = ("s3://", "gs://", "abfs://", "https://", "http://")
_PARALLEL: Final = ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE")


def _priority(subject: Subject) -> Iterator[Hit]:
    seen: dict[str, int] = {}
    for index, entry in enumerate(items(subject.get("spec", "supportedModelFormats"))):
        form = fields(entry)
        name, priority = text(form.get("name")), integer(form.get("priority"))
        if form.get("autoSelect") is not True or priority is None:
            continue
        if seen.setdefault(name, priority) != priority:
            yield Hit(
                path=("spec", "supportedModelFormats", index, "priority"),
                message=f"is {priority}; another version of {name!r} has {seen[name]}",
                fix="Give all versions of a format one priority.",
            )


def _worker_containers(subject: Subject) -> Iterator[Hit]:
    found = items(subject.get("spec", "workerSpec", "containers"))
    if len(found) > 1:
        yield Hit(path=("spec", "workerSpec", "containers"), message=f"has {len(found)} entries")


def _worker_sizes(subject: Subject) -> Iterator[Hit]:
    for name in ("pipelineParallelSize", "tensorParallelSize"):
        value = integer(subject.get("spec", "workerSpec", name))
        if value is not None and value < 1:
            yield Hit(path=("spec", "workerSpec", name), message=f"is {value}, below 1")


def _worker_env(subject: Subject) -> Iterator[Hit]:
    if not fields(subject.get("spec", "workerSpec")):
        return
    for number, container in enumerate(items(subject.get("spec", "containers"))):
        for index, entry in enumerate(items(fields(container).get("env"))):
            if fields(entry).get("name") in _PARALLEL:
                yield Hit(
                    path=("spec", "containers", number, "env", index),
                    message="sets a parallel size by environment variable",
                    fix="Use the fields of workerSpec.",
                )


def _trained_name(subject: Subject) -> Iterator[Hit]:
    name = subject.document.name
    if not _TRAINED_NAME.fullmatch(name):
        yield Hit(
            path=("metadata", "name"),
            message=f"{name!r} is not a name that KServe takes",
            fix="Use letters, digits, '_' and '-'.",
        )


def _trained_storage(subject: Subject) -> Iterator[Hit]:
    uri = text(subject.get("spec", "model", "storageUri"))
    if not uri.startswith(_TRAINED_SCHEMES):
        yield Hit(
            path=("spec", "model", "storageUri"),
            message=f"is {uri!r}; a trained model comes from {', '.join(_TRAINED_SCHEMES)}",
        )


def _trained_leaving(subject: Subject) -> Iterator[Hit]:
    yield Hit(path=(), message="is a kind that KServe means to deprecate (kserve issue 3758)")


_RUNTIMES: Final = ("ServingRuntime", "ClusterServingRuntime")
_TRAINED: Final = ("TrainedModel",)

RULES: Final = (
    refused(
        "runtime-priority",
        "Versions of one format have different priorities.",
        _priority,
        kinds=_RUNTIMES,
    ),
    refused(
        "runtime-worker-containers",
        "`workerSpec` has more than one container.",
        _worker_containers,
        kinds=_RUNTIMES,
    ),
    refused(
        "runtime-worker-sizes",
        "A parallel size of `workerSpec` is below 1.",
        _worker_sizes,
        kinds=_RUNTIMES,
    ),
    refused(
        "runtime-worker-env",
        "A parallel size is set by environment variable.",
        _worker_env,
        kinds=_RUNTIMES,
    ),
    refused(
        "trained-model-name",
        "The name holds other characters than letters, digits, `_` and `-`.",
        _trained_name,
        kinds=_TRAINED,
    ),
    refused(
        "trained-model-storage",
        "The storage scheme is not one that the agent downloads from.",
        _trained_storage,
        kinds=_TRAINED,
    ),
    noted(
        "trained-model-leaving",
        "TrainedModel is to be deprecated.",
        _trained_leaving,
        kinds=_TRAINED,
    ),
)
