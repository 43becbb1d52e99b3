"""What conch asks of a cluster's API, as a protocol: a narrow one, for any kind of object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from .resources import Key, Object, Resource

MANAGER: Final = "conch"
"""conch's one field manager. It always applies the whole intended object."""


class Change(StrEnum):
    """What a watch reports."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One report of a watch.

    Attributes:
        change: What happened; a bookmark says only how far the watch is.
        body: The object as it is now, or was last.
    """

    change: Change
    body: Object

    @property
    def resource_version(self) -> str:
        """How far the watch is."""
        return str(self.body["metadata"]["resourceVersion"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All objects of a kind at one moment.

    Attributes:
        items: The objects.
        resource_version: The moment; a watch goes on from there.
    """

    items: tuple[Object, ...]
    resource_version: str


class Cluster(Protocol):
    """A cluster's API. Every method raises a `ClusterError` that says what to do."""

    async def apply(self, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Make an object be as intended, by server-side apply as `MANAGER`; returns it.

        `body` is the whole intent: a field of an earlier apply that it lacks is removed. With
        `metadata.resourceVersion` the apply is refused where the object changed since.

        Raises:
            FieldConflictError: Somebody else owns a field; only `force` takes it over.
        """

    async def get(self, key: Key) -> Object:
        """Return an object.

        Raises:
            ObjectMissingError: There is none.
        """

    async def list(self, resource: Resource, namespace: str = "", *, labels: str = "") -> Listing:
        """Return all objects of a kind, in one namespace or everywhere, by label selector."""

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        since: str,
        timeout_s: float,
    ) -> AsyncIterator[Event]:
        """Yield what changes after a moment, until the time is over or the connection is.

        Raises:
            WatchExpiredError: The moment is too long ago; list again.
        """

    async def create(self, body: Object) -> Object:
        """Create an object.

        Raises:
            ObjectChangedError: It exists.
        """

    async def replace(self, body: Object) -> Object:
        """Replace an object that did not change since it was read.

        Raises:
            ObjectChangedError: It did.
        """

    async def delete(self, key: Key, *, uid: str = "", dry_run: bool = False) -> None:
        """Delete an object with what depends on it; does nothing where there is none.

        Args:
            uid: Delete only the object with this identity, not a namesake made since.
        """

    def follow_log(self, key: Key, container: str) -> AsyncIterator[str]:
        """Yield the lines of a pod's container from its first on, until it ends.

        Raises:
            ClusterError: It cannot be read, or the connection broke; begin again.
        """

    async def patch_status(self, key: Key, status: Object) -> Object:
        """Merge fields into an object's status, as its controller does."""
