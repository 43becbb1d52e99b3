"""What KServe's validating webhook refuses of an InferenceService, scaling and canaries aside.

Source: `pkg/apis/serving/v1beta1/inference_service_validation.go` and `component.go` of
kserve/kserve at the tags 0.15.2 to 0.20.0.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from typing import Final

from ..structural import Path
from ..versions import KServeVersion
from .reading import (
    FRAMEWORKS,
    Fields,
    at,
    fields,
    implementation,
    integer,
    items,
    storage_uri,
    text,
)
from .subjects import Hit, Subject, containers, refused

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LOGGER_MODES: Final = ("all", "request", "response")
_STORAGE_SPEC_SCHEMES: Final = ("s3://", "hdfs://", "webhdfs://")


def _name(subject: Subject) -> Iterator[Hit]:
    name = subject.document.name
    if not _NAME.fullmatch(name):
        yield Hit(
            path=("metadata", "name"),
            message=f"{name!r} is not a name that KServe takes",
            fix="Start with a lower case letter; go on with lower case letters, digits and '-'.",
        )


def _one_implementation(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        found = _implementations(path[-1], component)
        if len(found) != 1:
            yield Hit(
                path=path,
                message=f"has {len(found)} implementations{_listed(found)}",
                fix="Give exactly one; for a model that is `model`.",
            )
    if not fields(subject.get("spec", "predictor")):
        yield Hit(
            path=("spec", "predictor"), message="is missing or empty", fix="Give a predictor."
        )


def _implementations(component: str | int, body: Fields) -> list[str]:
    custom = items(body.get("containers"))
    if component == "transformer":
        return ["containers"] if custom else []
    if component == "explainer":
        return [name for name in ("art", "containers") if body.get(name)]
    found = [name for name in (*FRAMEWORKS, "model") if isinstance(body.get(name), dict)]
    main = [c for c in custom if fields(c).get("name") == "kserve-container"]
    if main or (custom and not found):
        found.append("containers")
    return found


def _listed(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _concurrency(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        value = integer(component.get("containerConcurrency"))
        if value is not None and value < 0:
            yield Hit(
                path=(*path, "containerConcurrency"),
                message=f"is {value}, below 0",
                fix="Use 0 for no limit.",
            )


def _logger_mode(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        logger = component.get("logger")
        if isinstance(logger, dict) and logger.get("mode") not in _LOGGER_MODES:
            yield Hit(
                path=(*path, "logger", "mode"),
                message="is missing or unknown; nothing sets a default",
                fix=f"Write one of {', '.join(_LOGGER_MODES)}.",
            )


def _logger_storage(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        storage = at(component, "logger", "storage")
        if isinstance(storage, dict):
            missing = [name for name in ("path", "parameters", "key") if name not in storage]
            if missing:
                yield Hit(
                    path=(*path, "logger", "storage"),
                    message=f"lacks {', '.join(missing)}",
                    fix="Give path, parameters and key.",
                )


def _blocked_env(subject: Subject) -> Iterator[Hit]:
    for path, container in containers(subject):
        for index, entry in enumerate(items(container.get("env"))):
            if fields(entry).get("name") == "PYTHONPATH":
                yield Hit(
                    path=(*path, "env", index),
                    message="sets PYTHONPATH, which this version blocks",
                    fix="Install the packages in the image.",
                )


def _model_name(subject: Subject) -> Iterator[Hit]:
    path, predictor = ("spec", "predictor"), fields(subject.get("spec", "predictor"))
    name, framework = implementation(predictor)
    if name and text(framework.get("name")):
        yield Hit(
            path=(*path, name, "name"),
            message="is set; KServe names the container itself",
            fix='Remove it or write "".',
        )


def _storage_twice(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        if "storageUris" in component and storage_uri(component):
            yield Hit(
                path=(*path, "storageUris"),
                message="stands beside storageUri",
                fix="Keep one of the two.",
            )


def _storage_paths(subject: Subject) -> Iterator[Hit]:
    for path, index, mount in _mounts(subject):
        if not mount.startswith("/") or mount == "/" or ".." in mount:
            yield Hit(
                path=(*path, "storageUris", index, "mountPath"),
                message=f"is {mount!r}; it must be absolute, below / and without '..'",
                fix="Use a path such as /mnt/models/one.",
            )


def _storage_parent(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        mounts = [
            mount
            for owner, index, mount in _mounts(subject)
            if owner == path and not _is_claim(component, index)
        ]
        absolute = all(mount.startswith("/") for mount in mounts)
        if len(mounts) > 1 and absolute and os.path.commonpath(mounts) == "/":
            yield Hit(
                path=(*path, "storageUris"),
                message=f"mounts at {', '.join(mounts)}, which share no folder",
                fix="Put them below one folder, for instance /mnt/models.",
            )


def _mounts(subject: Subject) -> Iterator[tuple[Path, int, str]]:
    for path, component in subject.components():
        for index, entry in enumerate(items(component.get("storageUris"))):
            yield path, index, text(fields(entry).get("mountPath", "/mnt/models"))


def _is_claim(component: Fields, index: int) -> bool:
    return text(at(component, "storageUris", index, "uri")).startswith("pvc://")


def _transformer_storage(subject: Subject) -> Iterator[Hit]:
    for index, container in enumerate(items(subject.get("spec", "predictor", "containers"))):
        names = [fields(entry).get("name") for entry in items(fields(container).get("env"))]
        if fields(container).get("name") == "transformer-container" and "STORAGE_URI" in names:
            yield Hit(
                path=("spec", "predictor", "containers", index, "env"),
                message="gives the transformer a STORAGE_URI of its own",
                fix="Set STORAGE_URI on the predictor's container only.",
            )


def _storage_spec_scheme(subject: Subject) -> Iterator[Hit]:
    for path, component in subject.components():
        name, framework = implementation(component)
        uri = text(framework.get("storageUri"))
        if "storage" in framework and uri and not uri.startswith(_STORAGE_SPEC_SCHEMES):
            yield Hit(
                path=(*path, name, "storageUri"),
                message=f"is {uri!r} beside `storage`, which takes only s3, hdfs and webhdfs",
                fix="Remove `storage`, or use one of these schemes.",
            )


_RUNTIMES: Final = ("InferenceService", "ServingRuntime", "ClusterServingRuntime")

RULES: Final = (
    refused(
        "name-format",
        "The name is not `[a-z]([-a-z0-9]*[a-z0-9])?`.",
        _name,
        kinds=("InferenceService", "InferenceGraph"),
    ),
    refused(
        "one-implementation",
        "A component has no implementation, or more than one.",
        _one_implementation,
    ),
    refused("concurrency-negative", "`containerConcurrency` is below 0.", _concurrency),
    refused("logger-mode", "`logger.mode` is missing; it has no default.", _logger_mode),
    refused("logger-storage", "`logger.storage` lacks path, parameters or key.", _logger_storage),
    refused(
        "env-pythonpath",
        "A container sets the environment variable PYTHONPATH.",
        _blocked_env,
        kinds=_RUNTIMES,
        since=KServeVersion.V0_18,
    ),
    refused(
        "model-name-set",
        "The stable predictor's `model.name` is set.",
        _model_name,
        since=KServeVersion.V0_16,
    ),
    refused(
        "storage-uri-twice",
        "`storageUri` and `storageUris` stand together.",
        _storage_twice,
        since=KServeVersion.V0_16,
    ),
    refused(
        "storage-uris-path",
        "A mount path of `storageUris` is not absolute, is `/`, or holds `..`.",
        _storage_paths,
        since=KServeVersion.V0_16,
    ),
    refused(
        "storage-uris-parent",
        "The mount paths of `storageUris` share no folder but `/`.",
        _storage_parent,
        since=KServeVersion.V0_16,
    ),
    refused(
        "transformer-storage-uri",
        "A collocated transformer has a STORAGE_URI.",
        _transformer_storage,
    ),
    refused(
        "storage-spec-scheme",
        "`storage` stands beside a `storageUri` of a scheme that it does not take.",
        _storage_spec_scheme,
    ),
)
