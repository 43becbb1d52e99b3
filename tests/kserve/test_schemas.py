"""The bundled schemas: complete, reproducible, and what the SDK of 0.21 says."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from pathlib import Path

import pytest

from conch.kserve.bundling import bundle, read_definitions
from conch.kserve.errors import UnusableSchemaError
from conch.kserve.schemas import schemas_of
from conch.kserve.versions import KServeVersion

DATA = Path(__file__).parent / "data"
KINDS = {
    "ClusterServingRuntime",
    "ClusterStorageContainer",
    "InferenceGraph",
    "InferenceService",
    "ServingRuntime",
    "TrainedModel",
}


@pytest.mark.parametrize("version", list(KServeVersion))
def test_every_version_has_every_kind(version: KServeVersion) -> None:
    """No stated version is without a schema for a kind that the linter knows."""
    found = schemas_of(version)
    assert set(found.kinds) == KINDS
    assert found.find("InferenceService", "serving.kserve.io/v1beta1") is not None
    assert found.find("InferenceService", "serving.kserve.io/v1alpha2") is None


def test_a_bundle_is_made_again_byte_for_byte() -> None:
    """The bundle of 0.20 follows from KServe's own files, and from nothing else."""
    shipped = files("conch.kserve").joinpath("crds", "kserve-0.20.json.gz").read_bytes()
    origin = json.loads(gzip.decompress(shipped))["origin"]
    made = bundle(read_definitions(DATA / "crds" / "kserve-0.20"), origin=origin)
    assert gzip.decompress(made) == gzip.decompress(shipped)


def test_other_objects_are_refused() -> None:
    """A bundle is made of definitions only."""
    with pytest.raises(UnusableSchemaError, match="'Secret'"):
        bundle([{"kind": "Secret"}], origin="nowhere")


@pytest.mark.parametrize(
    ("field", "since"),
    [
        (("predictor", "storageUris"), KServeVersion.V0_16),
        (("canary",), KServeVersion.V0_20),
        (("tracing",), KServeVersion.V0_21),
    ],
)
def test_fields_appear_with_their_version(field: tuple[str, ...], since: KServeVersion) -> None:
    """A field is known from its first version on, and not before."""
    for version in KServeVersion:
        spec = schemas_of(version).kinds["InferenceService"]["serving.kserve.io/v1beta1"]
        node = spec["properties"]["spec"]
        for name in field:
            node = node.get("properties", {}).get(name, {})
        assert bool(node) == version.at_least(since)
