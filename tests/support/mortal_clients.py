"""Clients of a cluster whose process is killed at a stated write."""

from __future__ import annotations

from typing import Any

from conch.kserve.cluster import Connection, Key, KubernetesCluster


class KilledError(BaseException):
    """The process is no more: whatever handles errors must not handle this, and threads end."""


class Mortal(KubernetesCluster):
    """A client whose process is killed right after one of its writes, before it knows of it."""

    def __init__(self, connection: Connection, *, last: int | None = None) -> None:
        super().__init__(connection)
        self._last = last
        self.writes = 0

    async def apply(self, body: Any, *, force: bool = False, dry_run: bool = False) -> Any:
        self._living()
        answer = await super().apply(body, force=force, dry_run=dry_run)
        self._written(dry_run)
        return answer

    async def delete(self, key: Key, *, uid: str = "", dry_run: bool = False) -> None:
        self._living()
        await super().delete(key, uid=uid, dry_run=dry_run)
        self._written(dry_run)

    def _living(self) -> None:
        if self._last is not None and self.writes > self._last:
            raise KilledError

    def _written(self, dry_run: bool) -> None:
        if not dry_run:
            self.writes += 1
            self._living()
