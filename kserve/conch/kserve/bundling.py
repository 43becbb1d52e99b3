"""Turning a folder of KServe's custom resource definitions into one bundled file.

A bundle holds, per kind and API version, the structural schema and nothing else: descriptions (two
thirds of the text), status defaults and printer columns are left out. Bundles are data of the
package; `python -m conch.kserve.bundling FOLDER VERSION ORIGIN` writes one when KServe publishes a
new version.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .errors import UnusableSchemaError
from .structural import Schema

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LISTS = ("allOf", "anyOf", "oneOf")


def bundle(definitions: Iterable[Mapping[str, Any]], *, origin: str) -> bytes:
    """Return the bundle of some definitions; equal definitions give equal bytes.

    Args:
        definitions: CustomResourceDefinition objects (apiextensions.k8s.io/v1).
        origin: Where they come from, kept in the bundle.

    Raises:
        UnusableSchemaError: A definition is of another kind or has no schema.
    """
    schemas: dict[str, dict[str, Schema]] = {}
    for definition in definitions:
        kind, found = versioned_schemas(definition)
        schemas[kind] = {name: _bare(schema) for name, schema in found.items()}
    text = json.dumps({"origin": origin, "schemas": schemas}, sort_keys=True, separators=(",", ":"))
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def versioned_schemas(definition: Mapping[str, Any]) -> tuple[str, dict[str, Schema]]:
    """Return the kind that a definition defines and its schemas by `group/version`.

    Raises:
        UnusableSchemaError: It is not a CustomResourceDefinition with schemas.
    """
    try:
        spec = definition["spec"]
        group: str = spec["group"]
        return str(spec["names"]["kind"]), {
            f"{group}/{version['name']}": version["schema"]["openAPIV3Schema"]
            for version in spec["versions"]
            if version["served"]
        }
    except (KeyError, TypeError) as error:
        raise UnusableSchemaError(
            f"An object of kind {definition.get('kind')!r} is not a custom resource definition.",
            hint="Give files of `config/crd/full` (apiextensions.k8s.io/v1).",
        ) from error


def read_definitions(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the definitions in a folder's `*.yaml` and `*.yaml.gz` files, by file name."""
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yaml.gz")]):
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        yield from (item for item in yaml.load_all(text, Loader=_LOADER) if item)


def bundle_path(version: str) -> Path:
    """Return where the bundle of a minor version lies in a source checkout."""
    return Path(str(files("conch.kserve"))) / "crds" / f"kserve-{version}.json.gz"


def _bare(schema: Schema) -> Schema:
    """Return a schema without descriptions, at every level."""
    bare: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("description", "x-kubernetes-validations"):
            continue
        if word == "properties":
            bare[word] = {name: _bare(part) for name, part in value.items()}
        elif word in _LISTS:
            bare[word] = [_bare(part) for part in value]
        elif isinstance(value, Mapping) and word in ("items", "additionalProperties", "not"):
            bare[word] = _bare(value)
        else:
            bare[word] = value
    return bare


if __name__ == "__main__":
    source, minor, origin = sys.argv[1:]
    bundle_path(minor).write_bytes(bundle(read_definitions(Path(source)), origin=origin))
