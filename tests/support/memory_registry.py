"""A model registry in a folder, for tests that are not about MLflow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conch.control.registry import (
    OWN_PREFIX,
    FetchedModel,
    RegisteredModel,
    RegisteredVersion,
    RegistrySnapshot,
    RegistryUnavailableError,
    RunFacts,
    VersionNotFoundError,
)
from conch.control.registry.downloading import bring
from conch.control.registry.packing import mlmodel_text, pack
from conch.core import InvalidValueError, Signature

_Key = tuple[str, int]


class MemoryRegistry:
    """The `Registry` protocol over a folder of MLflow model folders.

    Attributes:
        available: Whether it answers at all.
        origins: What it says of the runs that made versions.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._versions: dict[_Key, RegisteredVersion] = {}
        self._metrics: dict[_Key, dict[str, float]] = {}
        self.model_tags: dict[str, dict[str, str]] = {}
        self.origins: dict[_Key, RunFacts] = {}
        self.available = True

    def snapshot(self) -> RegistrySnapshot:
        self._answer()
        names = sorted({name for name, _ in self._versions} | set(self.model_tags))
        return RegistrySnapshot(
            models=tuple(
                RegisteredModel(name=name, tags=dict(self.model_tags.get(name, {})))
                for name in names
            ),
            versions=tuple(self._versions.values()),
            taken_at=datetime.now(UTC),
        )

    def version(self, name: str, number: int) -> RegisteredVersion:
        self._answer()
        try:
            return self._versions[name, number]
        except KeyError:
            raise VersionNotFoundError(f"There is no version {number} of {name!r}.") from None

    def origin(self, name: str, number: int) -> RunFacts:
        self.version(name, number)
        return self.origins.get((name, number), RunFacts())

    def fetch(self, version: RegisteredVersion, into: Path) -> FetchedModel:
        self._answer()
        key = (version.name, version.number)
        return bring(version.source, "", into, version=version, metrics=self._metrics[key])

    def write_tags(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        if foreign := [key for key in tags if not key.startswith(OWN_PREFIX)]:
            raise InvalidValueError(f"{foreign} are not conch's tags.")
        known = self.version(name, number)
        self._versions[name, number] = replace(known, tags={**known.tags, **tags})

    def delete_tags(self, name: str, number: int, keys: tuple[str, ...]) -> None:
        known = self.version(name, number)
        kept = {key: value for key, value in known.tags.items() if key not in keys}
        self._versions[name, number] = replace(known, tags=kept)

    def set_tags(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version, as a person does in a registry."""
        known = self.version(name, number)
        self._versions[name, number] = replace(known, tags={**known.tags, **tags})

    def delete_version(self, name: str, number: int) -> None:
        """Forget a version, as a person does in a registry."""
        del self._versions[name, number]

    def register_path(
        self,
        name: str,
        path: Path,
        *,
        framework: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        signature: Signature | None = None,
        input_example: Path | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> RegisteredVersion:
        self._answer()
        number = max((n for known, n in self._versions if known == name), default=0) + 1
        folder = Path(tempfile.mkdtemp(prefix="version-", dir=self._root))
        with tempfile.TemporaryDirectory() as scratch:
            packed = pack(
                path,
                Path(scratch),
                framework=framework,
                signature=signature,
                input_example=input_example,
            )
            for relative, file in packed.files.items():
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / relative)
        (folder / "MLmodel").write_text(mlmodel_text(packed.mlmodel))
        self._metrics[name, number] = dict(metrics or {})
        return self._keep(name, number, folder, tags=tags, description=description)

    def register_folder(self, name: str, folder: Path) -> RegisteredVersion:
        """Register an MLflow model that was logged into a folder."""
        self._answer()
        number = max((n for known, n in self._versions if known == name), default=0) + 1
        self._metrics[name, number] = {}
        return self._keep(name, number, folder)

    def _keep(
        self,
        name: str,
        number: int,
        folder: Path,
        *,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> RegisteredVersion:
        self._versions[name, number] = RegisteredVersion(
            name=name,
            number=number,
            source=str(folder),
            tags=dict(tags or {}),
            created_by="ada",
            created_at=datetime.now(UTC),
            description=description,
        )
        return self._versions[name, number]

    def _answer(self) -> None:
        if not self.available:
            raise RegistryUnavailableError("The registry does not answer.")
