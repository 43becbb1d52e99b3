"""The inbox on both engines: written once, forgotten in time, followed by the next look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from conch.control.leading import NotLeaderError
from conch.control.receiving import KEEP, Inbox, Outcome, WebhooksOffError, mark_followed
from conch.control.registry import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from conch.control.state import Database, Transaction

SECRET = "not-a-secret-but-long-enough"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY = json.dumps(
    {"entity": "model_version", "action": "created", "data": {"name": "m", "version": "7"}}
).encode()


class World:
    """An inbox with a clock, and how often it asked for a look at the registry."""

    def __init__(self, database: Database, *, secret: str | None = SECRET) -> None:
        self.now = NOON
        self.leads = True
        self.looks = 0
        self.inbox = Inbox(
            database=database,
            secret=secret,
            now=lambda: self.now,
            guard=self._guard,
            follow=self._follow,
        )

    def send(self, delivery_id: str) -> Outcome:
        timestamp = str(int(self.now.timestamp()))
        headers = {
            ID_HEADER: delivery_id,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(SECRET, delivery_id, timestamp, BODY),
        }
        return self.inbox.take(headers, BODY)

    def _guard(self, tx: Transaction) -> None:
        if not self.leads:
            raise NotLeaderError("Another process acts.")

    def _follow(self) -> None:
        self.looks += 1


def test_a_delivery_is_taken_once(database: Database) -> None:
    """The second of the same id asks for no look, also in another process on the database."""
    world = World(database)
    assert world.send("a") is Outcome.TAKEN
    assert world.send("a") is Outcome.REPEATED
    assert world.looks == 1
    other = World(database)
    assert other.send("a") is Outcome.REPEATED
    assert other.looks == 0
    with database.begin() as tx:
        [row] = tx.deliveries.find()
    assert (row.id, row.name, row.number, row.signed_at, row.created_at) == (
        "a",
        "m",
        7,
        NOON,
        NOON,
    )


def test_deliveries_are_kept_for_their_time_and_no_longer(database: Database) -> None:
    """After an hour the next delivery removes those before it."""
    world = World(database)
    world.send("a")
    world.now += KEEP
    world.send("b")
    world.now += timedelta(seconds=1)
    world.send("c")
    with database.begin() as tx:
        assert [row.id for row in tx.deliveries.find()] == ["b", "c"]


def test_a_look_covers_what_came_before_it_began(database: Database) -> None:
    """A delivery that arrives while the registry is being listed waits for the next look."""
    world = World(database)
    world.send("before")
    world.now += timedelta(seconds=1)
    seen = world.now
    world.now += timedelta(seconds=1)
    world.send("during")
    with database.begin() as tx:
        assert mark_followed(tx, seen=seen, now=world.now) == 1
    with database.begin() as tx:
        followed = {row.id: row.followed_at for row in tx.deliveries.find()}
        assert followed == {"before": world.now, "during": None}
        assert mark_followed(tx, seen=world.now, now=world.now) == 1
        assert mark_followed(tx, seen=world.now, now=world.now) == 0


def test_a_process_that_does_not_act_writes_nothing(database: Database) -> None:
    """The guard stands before the row, and the sender is told to come again."""
    world = World(database)
    world.leads = False
    with pytest.raises(NotLeaderError):
        world.send("a")
    world.leads = True
    assert world.send("a") is Outcome.TAKEN


def test_without_a_secret_nothing_is_taken(database: Database) -> None:
    """Switched off, even a delivery that is signed rightly is refused."""
    with pytest.raises(WebhooksOffError):
        World(database, secret=None).send("a")
