"""The webhook is kept: soon after the server is there, then every minute, by the one who acts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from conch.control.registry import (
    RegistryRefusedError,
    RegistryUnavailableError,
    WebhookAction,
)
from conch.control.subscribing import Subscription
from conch.core import ConchError


class World:
    """A server that answers as it is told, and a clock."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.answer: WebhookAction | ConchError = WebhookAction.KEPT
        self.leads = True
        self.asked = 0
        self.changes = 0
        self.subscription = Subscription(
            keep=self._keep, leads=lambda: self.leads, changed=self._changed, now=lambda: self.now
        )

    def after(self, seconds: float) -> Subscription:
        """Run a pass some seconds later."""
        self.now += timedelta(seconds=seconds)
        self.subscription.run()
        return self.subscription

    def _keep(self) -> WebhookAction:
        self.asked += 1
        if isinstance(self.answer, ConchError):
            raise self.answer
        return self.answer

    def _changed(self) -> None:
        self.changes += 1


def test_a_server_that_comes_up_is_connected_within_seconds() -> None:
    """While it is away it is asked every two seconds; then the registry is looked at once."""
    world = World()
    world.answer = RegistryUnavailableError("away")
    assert world.after(0).problem is world.answer
    assert world.after(1).kept_at is None
    assert world.asked == 1
    world.answer = WebhookAction.CREATED
    assert world.after(1).kept_at == world.now
    assert world.subscription.problem is None
    assert (world.asked, world.changes) == (2, 1)


def test_a_webhook_that_is_in_order_is_looked_at_every_minute() -> None:
    """A look that finds nothing to do asks for no sweep, but for the first."""
    world = World()
    for _ in range(120):
        world.after(1)
    assert (world.asked, world.changes) == (2, 1)


def test_a_webhook_that_was_removed_is_made_again() -> None:
    """What was registered meanwhile was not delivered, so the registry is looked at."""
    world = World()
    world.after(0)
    world.answer = WebhookAction.CREATED
    world.after(60)
    assert (world.asked, world.changes) == (2, 2)


def test_a_refusal_is_not_repeated_every_second() -> None:
    """A server that may not call such an address is asked once a minute."""
    world = World()
    world.answer = RegistryRefusedError("private address")
    for _ in range(61):
        world.after(1)
    assert world.asked == 2
    assert world.subscription.problem is world.answer


def test_only_the_process_that_acts_keeps_it() -> None:
    """Two processes never repair each other's webhook."""
    world = World()
    world.leads = False
    world.after(100)
    assert world.asked == 0
    world.leads = True
    world.after(0)
    assert world.asked == 1
