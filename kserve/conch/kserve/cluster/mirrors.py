"""A local copy of a kind's objects that follows the cluster by list and watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from .failures import BusyError, ClusterError, WatchExpiredError
from .ports import Change, Cluster
from .resources import Key, Object, Resource

log = logging.getLogger(__name__)

WATCH_S: Final = 290.0
"""How long one watch lasts, in seconds; proxies end connections after five minutes."""
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 30.0


class Mirror:
    """Objects of one kind as the cluster last showed them.

    One list, then a watch from there on; bookmarks keep the watch young while nothing changes, and
    one that is too old leads to a new list. While the cluster cannot be asked the copy stays, and
    `error` says why it may be behind.

    Args:
        cluster: Whom to ask.
        resource: The kind.
        namespace: One namespace; empty for all.
        labels: Label selector.
        sleep: Waits so many seconds.

    Attributes:
        objects: The copy, by key, without the cluster's notes on who set which field.
        error: Why the copy may be behind; None while it is followed.
        lists: How often everything was listed.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._sleep = sleep
        self._moved = asyncio.Condition()
        self._listed = False
        self.objects: dict[Key, Object] = {}
        self.error: ClusterError | None = None
        self.lists = 0

    @property
    def followed(self) -> bool:
        """Whether the copy is complete and up to date, as far as can be told."""
        return self._listed and self.error is None

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        wait = _FIRST_S
        since = ""
        while True:
            try:
                if not since:
                    since = await self._list()
                async for event in self._cluster.watch(
                    self._resource,
                    self._namespace,
                    labels=self._labels,
                    since=since,
                    timeout_s=WATCH_S,
                ):
                    since = event.resource_version
                    await self._take(event.change, event.body)
                    wait = _FIRST_S
            except WatchExpiredError:
                since = ""
            except ClusterError as error:
                log.warning("%s cannot be followed: %s", self._resource.plural, error)
                await self._fail(error)
                asked = error.details["retry_after_s"] if isinstance(error, BusyError) else 0.0
                await self._sleep(max(wait, asked))
                wait = min(2 * wait, _LONGEST_S)
                # A server that came back may be one that forgot; only a list shows what is gone.
                since = ""

    async def until(self, there: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until something is true of the copy; tells whether it became so in time."""
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(there)
        except TimeoutError:
            return False
        return True

    async def settled(self, *, timeout_s: float) -> bool:
        """Wait for the first complete copy, or for an error that does not pass by itself."""
        await self.until(
            lambda: self._listed or (self.error is not None and not self.error.retryable),
            timeout_s=timeout_s,
        )
        return self._listed

    async def note(self, body: Object) -> None:
        """Take an answer to an own request in, which the watch will report later."""
        known = self.objects.get(Key.of(body))
        if known is None or _age(known) < _age(body):
            await self._take(Change.MODIFIED, body)

    async def _list(self) -> str:
        listing = await self._cluster.list(self._resource, self._namespace, labels=self._labels)
        async with self._moved:
            self.objects = {Key.of(item): _bare(item) for item in listing.items}
            self.lists += 1
            self._listed = True
            self.error = None
            self._moved.notify_all()
        return listing.resource_version

    async def _take(self, change: Change, body: Object) -> None:
        async with self._moved:
            self.error = None
            if change is Change.DELETED:
                self.objects.pop(Key.of(body), None)
            elif change is not Change.BOOKMARK:
                self.objects[Key.of(body)] = _bare(body)
            self._moved.notify_all()

    async def _fail(self, error: ClusterError) -> None:
        async with self._moved:
            self.error = error
            self._moved.notify_all()


def _age(body: Object) -> int:
    """Return a resource version as a number; etcd's are, and only order within a kind is asked."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _bare(body: Object) -> Object:
    meta = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": meta}
