"""Taking webhook deliveries: checked, written down once, followed by a look at the registry.

A delivery is acknowledged only after it is in the database, so that a process which dies right
after its answer forgets nothing: the next one looks at the whole registry when it starts. What a
delivery says is never acted on; it only makes the next look come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from conch.core import ConchError, NotFoundError

from .registry import Delivery, Hint, MalformedDeliveryError, hint_of, verify_delivery
from .state import Database, ReceivedDelivery, Transaction

KEEP: Final = timedelta(hours=1)
"""How long a delivery is remembered; several times as long as its signature is accepted."""

_LONGEST_ID: Final = 128
_LONGEST_NAME: Final = 256


class WebhooksOffError(NotFoundError):
    """The settings say that no webhooks are taken."""

    code = "webhooks-off"


class HooksBusyError(ConchError):
    """So many deliveries arrive at once, or one so slowly, that it has to be sent again."""

    code = "webhook-busy"
    retryable = True


class Outcome(StrEnum):
    """What became of a delivery.

    `REPEATED` has been taken before, and `IGNORED` is about something that conch does not follow,
    such as its own tags.
    """

    TAKEN = "taken"
    REPEATED = "repeated"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """Where deliveries arrive.

    Attributes:
        secret: What they are signed with; None where none are taken.
        guard: Raises within a transaction where this process may not act.
        follow: Asks for a look at the registry.
    """

    database: Database
    secret: str | None
    now: Callable[[], datetime]
    guard: Callable[[Transaction], None]
    follow: Callable[[], None]

    def take(self, headers: Mapping[str, str], raw_body: bytes) -> Outcome:
        """Check a delivery, keep it, and have the registry looked at; idempotent by delivery id.

        Raises:
            WebhooksOffError: None are taken.
            DeliveryError: It is not one of MLflow's, or too old; nothing was written.
            NotLeaderError: Another process acts; the sender should try again.
            DatabaseUnavailableError: It could not be written; the sender should try again.
        """
        if self.secret is None:
            raise WebhooksOffError(
                "This control plane takes no webhooks.", hint="Set `mlflow.webhooks`."
            )
        now = self.now()
        delivery = verify_delivery(headers, raw_body, secret=self.secret, now=now)
        hint = hint_of(delivery)
        if hint is None:
            return Outcome.IGNORED
        received = _received(delivery, hint, now=now)
        with self.database.begin() as tx:
            self.guard(tx)
            if tx.deliveries.first(id=received.id) is not None:
                return Outcome.REPEATED
            tx.deliveries.remove_older(now - KEEP)
            tx.deliveries.add(received)
        self.follow()
        return Outcome.TAKEN


def mark_followed(tx: Transaction, *, seen: datetime, now: datetime) -> int:
    """Note that a look at the registry covered every delivery received before it began.

    Args:
        tx: The transaction that writes down what the look found.
        seen: When the look began.
        now: The present.

    Returns:
        How many deliveries it covered.
    """
    covered = [one for one in tx.deliveries.find(followed_at=None) if one.created_at <= seen]
    for one in covered:
        tx.deliveries.change(one, followed_at=now)
    return len(covered)


def _received(delivery: Delivery, hint: Hint, *, now: datetime) -> ReceivedDelivery:
    if len(delivery.delivery_id) > _LONGEST_ID or len(hint.name) > _LONGEST_NAME:
        raise MalformedDeliveryError("The delivery's id or the model's name is too long.")
    return ReceivedDelivery(
        id=delivery.delivery_id,
        event=delivery.event,
        name=hint.name,
        number=hint.number,
        signed_at=delivery.signed_at,
        created_at=now,
    )
