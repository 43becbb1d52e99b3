"""The structural schemas of the KServe kinds, by version."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from .structural import Schema
from .versions import KServeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSet:
    """What one KServe version accepts.

    Attributes:
        version: The KServe version.
        origin: Where its schemas come from.
        kinds: Schemas by kind and `group/version`.
    """

    version: KServeVersion
    origin: str
    kinds: Mapping[str, Mapping[str, Schema]]

    def find(self, kind: str, api_version: str) -> Schema | None:
        """Return the schema of a kind at an API version; None where there is none."""
        return self.kinds.get(kind, {}).get(api_version)


@cache
def schemas_of(version: KServeVersion) -> SchemaSet:
    """Return the schemas of a KServe version; read once per process, about 10 ms."""
    data = files("conch.kserve").joinpath("crds", f"kserve-{version}.json.gz").read_bytes()
    content: dict[str, Any] = json.loads(gzip.decompress(data))
    kinds: dict[str, dict[str, dict[str, Any]]] = content["schemas"]
    if version is KServeVersion.V0_21:
        service = kinds["InferenceService"]["serving.kserve.io/v1beta1"]
        service["properties"]["spec"]["properties"]["tracing"] = _TRACING
    return SchemaSet(
        version=version,
        origin=content["origin"],
        kinds={
            kind: {name: with_metadata(schema) for name, schema in versions.items()}
            for kind, versions in kinds.items()
        },
    )


def with_metadata(schema: Schema) -> Schema:
    """Return a definition's schema with that of `metadata`, which the server adds by itself."""
    return {**schema, "properties": {**schema["properties"], "metadata": _METADATA}}


_TRACING: Final = {
    "type": "object",
    "properties": {
        name: {"type": "string"}
        for name in ("exporter", "exporterEndpoint", "sampler", "samplerArg")
    },
}
"""`V1beta1TracingSpec` of the 0.21.0 Python SDK, the one KServe type that the snapshot lacks."""

_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253},
        "generateName": {"type": "string"},
        "namespace": {"type": "string", "maxLength": 63},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "ownerReferences": {"type": "array"},
        "uid": {"type": "string"},
        "resourceVersion": {"type": "string"},
        "generation": {"type": "integer", "format": "int64"},
        "creationTimestamp": {"type": "string", "format": "date-time", "nullable": True},
        "deletionTimestamp": {"type": "string", "format": "date-time", "nullable": True},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "managedFields": {"type": "array"},
        "selfLink": {"type": "string"},
    },
}
"""`ObjectMeta` of Kubernetes meta/v1: definitions say only `type: object`, the server checks it."""
