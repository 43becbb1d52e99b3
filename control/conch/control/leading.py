"""One control process acts at a time: a lease in the database says which.

The holder renews its lease; another process takes it when it ran out, or at once when the holder is
known to be dead. Whatever acts proves in the transaction of its decision that the lease is still
its own, so that a process that was paused and overtaken stops at its next step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from conch.core import ConchError

from .jobs import is_alive
from .state import Database, Lease, Transaction

log = logging.getLogger(__name__)

LEADER: Final = "leader"
LEASE_S: Final = 6.0
RENEW_S: Final = 1.5


class NotLeaderError(ConchError):
    """Another control process acts on this database."""

    code = "not-leader"
    retryable = True


class Leadership:
    """This process's claim to act.

    Args:
        database: Where the lease is.
        holder: This process.
        url: Where this process's API answers, told to those who ask another process.
        now: The clock.
    """

    def __init__(
        self, *, database: Database, holder: str, url: str, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._holder = holder
        self._url = url
        self._now = now
        self._token: int | None = None

    @property
    def held(self) -> bool:
        """Whether the last look gave this process the lease; `prove` is what counts."""
        return self._token is not None

    def renew(self) -> bool:
        """Renew the lease, or take it if it is free; return whether this process holds it.

        Raises:
            DatabaseUnavailableError: The database does not answer; the lease runs out by itself.
        """
        before = self._token
        with self._database.begin() as tx:
            lease = self._take(tx)
        self._token = None if lease is None else lease.token
        if self._token != before:
            log.info("%s", "this process acts" if self.held else "another process acts")
        return self.held

    def prove(self, tx: Transaction) -> None:
        """Check within a transaction that this process may act.

        A lease that ran out and that nobody took is renewed here: transactions take turns, so
        nobody can take it between this check and the commit.

        Raises:
            NotLeaderError: Another process holds the lease.
        """
        lease = tx.leases.first(id=LEADER)
        if lease is None or lease.holder != self._holder or lease.token != self._token:
            where = f" at {lease.url}" if lease is not None and lease.url else ""
            raise NotLeaderError(
                f"Another control process{where} acts on this database.",
                hint="Ask that one, or wait until its lease of a few seconds runs out.",
            )
        now = self._now()
        if lease.until <= now:
            tx.leases.change(lease, until=now + timedelta(seconds=LEASE_S))

    def release(self) -> None:
        """Give the lease up, so that another process need not wait for it to run out."""
        with self._database.begin() as tx:
            lease = tx.leases.first(id=LEADER)
            if lease is not None and lease.holder == self._holder:
                tx.leases.change(lease, until=self._now())
        self._token = None

    def _take(self, tx: Transaction) -> Lease | None:
        now = self._now()
        until = now + timedelta(seconds=LEASE_S)
        lease = tx.leases.first(id=LEADER)
        if lease is None:
            return tx.leases.add(
                Lease(
                    id=LEADER,
                    holder=self._holder,
                    token=1,
                    until=until,
                    url=self._url,
                    created_at=now,
                )
            )
        if lease.holder == self._holder:
            return tx.leases.change(lease, until=until)
        if lease.until <= now or not is_alive(lease.holder):
            return tx.leases.change(
                lease, holder=self._holder, token=lease.token + 1, until=until, url=self._url
            )
        return None
