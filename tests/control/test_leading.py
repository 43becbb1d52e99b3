"""Of two control processes on one database, one acts; the other stops at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from conch.control.leading import LEASE_S, Leadership, NotLeaderError
from conch.control.state import Database


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """A clock at rest."""
    return Clock()


def process(database: Database, clock: Clock, name: str) -> Leadership:
    """A control process on another host, whose death cannot be seen from here."""
    return Leadership(database=database, holder=f"{name}:1:1", url=f"http://{name}:8090", now=clock)


def test_the_first_holds_and_the_second_waits(database: Database, clock: Clock) -> None:
    """While the holder renews, nobody else gets the lease."""
    one, two = process(database, clock, "one"), process(database, clock, "two")
    for _ in range(5):
        assert one.renew()
        assert not two.renew()
        clock.pass_s(LEASE_S / 2)


def test_one_that_was_overtaken_can_do_nothing_more(database: Database, clock: Clock) -> None:
    """A paused holder still believes that it leads; its next transaction tells it otherwise."""
    one, two = process(database, clock, "one"), process(database, clock, "two")
    assert one.renew()
    clock.pass_s(LEASE_S + 1)
    assert two.renew()
    assert one.held
    with pytest.raises(NotLeaderError, match="http://two:8090"), database.begin() as tx:
        one.prove(tx)
    with database.begin() as tx:
        two.prove(tx)
    assert not one.renew()


def test_a_lease_that_nobody_took_is_renewed_by_who_acts(database: Database, clock: Clock) -> None:
    """A busy holder that renewed too late goes on, and keeps the others out again."""
    one, two = process(database, clock, "one"), process(database, clock, "two")
    assert one.renew()
    clock.pass_s(LEASE_S + 1)
    with database.begin() as tx:
        one.prove(tx)
    assert not two.renew()


def test_giving_up_lets_the_next_one_in_at_once(database: Database, clock: Clock) -> None:
    """A clean stop hands over without waiting."""
    one, two = process(database, clock, "one"), process(database, clock, "two")
    assert one.renew()
    one.release()
    assert two.renew()
