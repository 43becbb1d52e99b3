"""What a registry holds, as values, and the port through which conch reads and marks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from conch.core import Signature

OWN_PREFIX: Final = "conch."
"""Tags under this prefix are conch's own words; reading them back never means anything."""

READY: Final = "READY"
"""The status of a version whose registration is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A name under which versions are registered.

    Attributes:
        aliases: The version number behind each alias.
    """

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        number: The registry's integer, from 1.
        status: `READY`, or the registry's word for a registration under way or failed.
        run_id: The run that made it; None for a version registered without one.
        model_id: The logged model behind it; None for a version registered from plain files.
        source: Where the registry says that the model came from.
        aliases: Sorted.
        created_by: The registry's user; empty on a registry without users.
        created_at: With a time zone.
    """

    name: str
    number: int
    status: str = READY
    run_id: str | None = None
    model_id: str | None = None
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    created_by: str = ""
    created_at: datetime
    description: str = ""

    @property
    def identity(self) -> str:
        """What stays the same while this is the same version, as 32 hexadecimal digits.

        A registry gives a number again after its model was deleted and made anew; the run, the
        logged model, the source and the moment of registration tell the two apart.
        """
        facts = [self.run_id, self.model_id, self.source, self.created_at.timestamp()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySnapshot:
    """Everything that the registry listed, complete: a listing that fails half-way is no snapshot.

    Attributes:
        versions: Each belongs to one of `models`.
        taken_at: When the listing began, with a time zone.
    """

    models: tuple[RegisteredModel, ...]
    versions: tuple[RegisteredVersion, ...]
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """A model on this machine, as it was logged.

    Attributes:
        path: The folder that holds `MLmodel`.
        flavors: The flavours that `MLmodel` offers, sorted.
        mlmodel: The content of `MLmodel`.
        size_bytes: Bytes of all files.
        framework: The flavour to build from; `pyfunc` where there is no other.
        has_signature: Whether the model was logged with a signature.
        has_input_example: Whether the model was logged with an input example.
        metrics: Last values of the metrics of the run and of the logged model.
    """

    path: Path
    flavors: tuple[str, ...]
    mlmodel: Mapping[str, Any]
    size_bytes: int
    framework: str
    has_signature: bool
    has_input_example: bool
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a registry knows of the run that made a version.

    Attributes:
        params: The run's parameters.
        datasets: The data that the run says it read, as `{"name", "digest", "context"}`.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[dict[str, str], ...] = ()


class Registry(Protocol):
    """A model registry, as much of it as conch needs. Every call blocks and may be repeated.

    Any call may raise `RegistryUnavailableError` (try again later) or `RegistryRefusedError`.
    """

    def snapshot(self) -> RegistrySnapshot:
        """List every model and version; prompts are left out."""
        ...

    def version(self, name: str, number: int) -> RegisteredVersion:
        """Return one version as it is now.

        Raises:
            VersionNotFoundError: There is none.
        """
        ...

    def origin(self, name: str, number: int) -> RunFacts:
        """Return what is known of the run that made a version; empty where there was none.

        Raises:
            VersionNotFoundError: There is no such version.
        """
        ...

    def fetch(self, version: RegisteredVersion, into: Path) -> FetchedModel:
        """Copy a version's files to `into`, which must not exist or be an empty folder.

        The folder appears whole or not at all.

        Raises:
            VersionNotFoundError: The version is gone.
            ArtifactMissingError: There is no model where the registry says.
        """
        ...

    def write_tags(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags under `conch.` on a version; those that already have the value stay untouched.

        Raises:
            InvalidValueError: A key is not under `conch.`.
            VersionNotFoundError: There is no such version.
        """
        ...

    def delete_tags(self, name: str, number: int, keys: tuple[str, ...]) -> None:
        """Remove tags under `conch.` from a version; absent ones are passed over.

        Raises:
            InvalidValueError: A key is not under `conch.`.
            VersionNotFoundError: There is no such version.
        """
        ...

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
        """Register a model that lies on this machine as the next version of a name.

        Args:
            name: The registered model; made where it does not exist.
            path: An MLflow model folder, a SavedModel folder, or a file of a kind in `packing`.
            framework: A flavour such as `pytorch`, to insist on it; None to go by the file.
            tags: Tags of the version.
            description: Markdown, shown by the registry.
            signature: What the model takes and returns; None to read it from the file where the
                file says. An MLflow folder keeps its own.
            input_example: A `.npy` file (one input) or an `.npz` file (arrays by input name).
            metrics: Metrics of the run that the model is logged in.

        Raises:
            ModelFileError: The path is not such a model.
        """
        ...
