"""Where a cluster's servers fetch builds from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

from conch.core import BuildRef

from ..sites import Site

FLAVOURS: Final = ("native", "portable")
"""The Triton repositories that a build may hold, the one that is served first."""


class Store(Protocol):
    """Puts builds where servers find them."""

    def address(self, build: BuildRef) -> str:
        """Return the storage URI that a build has once it is published; does nothing."""

    def publish(self, build: BuildRef) -> str:
        """Make a build fetchable and return its storage URI; doing it again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConchStore:
    """Servers fetch builds from conch itself (`conch://`) and prove them by the digest."""

    def address(self, build: BuildRef) -> str:
        """Return the URI, which holds the digest."""
        return f"conch://{build.model}/{build.build_id}/{build.digest}"

    def publish(self, build: BuildRef) -> str:
        """Return the URI; the build stays where it is."""
        return self.address(build)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedStore:
    """Somebody else puts builds where servers fetch them, such as a pipeline that fills a bucket.

    Attributes:
        uri: Above the builds, such as `s3://models/builds`.
    """

    uri: str

    def address(self, build: BuildRef) -> str:
        """Return the URI: `URI/MODEL/BUILD`."""
        return _below(self.uri, build)

    def publish(self, build: BuildRef) -> str:
        """Return the URI; that the build is there is the other's word."""
        return self.address(build)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStore:
    """Builds are copied to a folder that servers see under a URI, such as a mounted volume.

    Attributes:
        folder: The folder as seen from here.
        uri: What servers call it, such as `pvc://models/builds`.
    """

    folder: Path
    uri: str

    def address(self, build: BuildRef) -> str:
        """Return the URI: `URI/MODEL/BUILD`."""
        return _below(self.uri, build)

    def publish(self, build: BuildRef) -> str:
        """Copy the build's Triton repository, whole or not at all, and return its URI."""
        place = self.folder / build.model / build.build_id
        if not place.exists():
            source = served_folder(build.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f".{place.name}.{uuid4().hex}")
            shutil.copytree(source, fresh)
            try:
                fresh.rename(place)
            except OSError:
                shutil.rmtree(fresh)
                if not place.is_dir():
                    raise
        return self.address(build)


def served_folder(build: Path) -> Path:
    """Return the Triton repository of a build's folder that a cluster's servers are given."""
    return next(build / each for each in FLAVOURS if (build / each).is_dir())


def store_of(site: Site) -> Store:
    """Return the store that a site states."""
    if site.uri.startswith("conch://"):
        return ConchStore()
    if site.folder is not None:
        return FolderStore(folder=site.folder, uri=site.uri)
    return StatedStore(uri=site.uri)


def _below(uri: str, build: BuildRef) -> str:
    return f"{uri.rstrip('/')}/{build.model}/{build.build_id}"
