"""Leadership among control planes on one cluster, by a small Lease.

Clocks of different machines are not compared: another holder's lease counts as given up once it
stayed unchanged for its whole duration on *this* machine's clock, as client-go does it. The
library's own lock fails on creating the Lease (`kubernetes` 37.0.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .failures import ObjectChangedError, ObjectMissingError
from .ports import Cluster
from .resources import LEASE, Key, Object


@dataclass(slots=True, kw_only=True)
class ClusterLease:
    """One contender for a Lease.

    Attributes:
        cluster: Where the Lease is.
        namespace: Its namespace.
        name: Its name.
        holder: Who contends; unique among processes.
        clock: Monotonic seconds.
        now: The time that others are shown.
        duration_s: How long a lease holds without being renewed, in seconds.
        held: Whether the last `renew` got or kept it.
    """

    cluster: Cluster
    namespace: str
    name: str
    holder: str
    clock: Callable[[], float]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    duration_s: int = 15
    held: bool = False
    _seen: tuple[str, float] = field(default=("", 0.0))

    async def renew(self) -> bool:
        """Get the lease, or keep it; call it three times within its duration.

        Raises:
            ClusterError: The cluster cannot be asked. Whoever cannot renew for the duration must
                stop acting.
        """
        try:
            found = await self.cluster.get(self._key)
        except ObjectMissingError:
            self.held = await self._write(self.cluster.create, self._body(None))
            return self.held
        if self._free(found):
            self.held = await self._write(self.cluster.replace, self._body(found))
        else:
            self.held = False
        return self.held

    async def release(self) -> None:
        """Give the lease up, so that another need not wait for its end."""
        if not self.held:
            return
        found = await self.cluster.get(self._key)
        if found["spec"].get("holderIdentity") == self.holder:
            body = self._body(found)
            body["spec"]["holderIdentity"] = ""
            await self._write(self.cluster.replace, body)
        self.held = False

    @property
    def _key(self) -> Key:
        return Key(
            api_version=LEASE.api_version,
            kind=LEASE.kind,
            namespace=self.namespace,
            name=self.name,
        )

    def _free(self, found: Object) -> bool:
        spec = found["spec"]
        version = str(found["metadata"]["resourceVersion"])
        if version != self._seen[0]:
            self._seen = (version, self.clock())
        if spec.get("holderIdentity") in ("", None, self.holder):
            return True
        duration = float(spec.get("leaseDurationSeconds") or self.duration_s)
        return self.clock() - self._seen[1] >= duration

    def _body(self, found: Object | None) -> Object:
        stamp = self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old: dict[str, Any] = found["spec"] if found else {}
        mine = old.get("holderIdentity") == self.holder
        meta: Object = {"name": self.name, "namespace": self.namespace}
        if found:
            meta["resourceVersion"] = found["metadata"]["resourceVersion"]
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": meta,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.duration_s,
                "acquireTime": old.get("acquireTime") if mine else stamp,
                "renewTime": stamp,
                "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine else 1),
            },
        }

    async def _write(self, write: Callable[[Object], Any], body: Object) -> bool:
        try:
            await write(body)
        except ObjectChangedError:
            return False  # somebody was quicker
        return True
