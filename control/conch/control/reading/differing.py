"""Gathers what is known of two versions, for `version_diffs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conch.core import ConchError, Signature
from conch.model_repo_builder import weights_of

from ..registry import Registry, RunFacts
from ..state import Build, BuildStatus, Database, Transaction, Version
from .queries import find_version
from .report_pages import report_of
from .version_diffs import Side, version_diff


class Differing:
    """Compares versions of a model; changes nothing.

    Args:
        database: The control database.
        registry: Asked for the parameters and data sets of the runs that made the versions.
    """

    def __init__(self, *, database: Database, registry: Registry) -> None:
        self._database = database
        self._registry = registry

    def diff(self, name: str, old: int, new: int) -> dict[str, Any]:
        """Return two versions side by side; see `version_diff`.

        Raises:
            NotFoundError: conch has not seen one of them.
        """
        with self._database.look() as tx:
            found = [_known(tx, name, number) for number in (old, new)]
        first, second = (self._side(version, build) for version, build in found)
        return {"model": name, **version_diff(first, second)}

    def _side(self, version: Version, build: Build | None) -> Side:
        origin = self._origin(version)
        manifest = (build.manifest if build else None) or {}
        report = report_of(build) if build else None
        return Side(
            version=version.version,
            status=version.status.value,
            semantic_version=build.semantic_version if build else None,
            signature=Signature.from_dict(manifest["signature"]) if manifest else None,
            graph_digest=build.graph_digest if build else "",
            weights=weights_of(Path(build.path)) if build and build.path else None,
            metrics=version.accuracy_metrics,
            params=None if origin is None else origin.params,
            datasets=None if origin is None else origin.datasets,
            size_bytes=version.model_size,
            variants=tuple(manifest.get("variants") or ()),
            report=report["verification"] if report else None,
        )

    def _origin(self, version: Version) -> RunFacts | None:
        try:
            return self._registry.origin(version.name, version.version)
        except ConchError:  # what conch itself knows is shown all the same
            return None


def _known(tx: Transaction, name: str, number: int) -> tuple[Version, Build | None]:
    """A version with its newest build, a verified one before others."""
    version = find_version(tx, name, number)
    builds = tx.builds.find(version_id=version.id, newest_first=True)
    verified = [one for one in builds if one.status is BuildStatus.VERIFIED]
    return version, next(iter(verified or builds), None)
