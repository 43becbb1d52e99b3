"""Having MLflow call conch: keeping the webhook where it should be.

This only makes the sweep come sooner. A server that is away, or refuses, costs nothing but that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from conch.core import ConchError

from .registry import WebhookAction

log = logging.getLogger(__name__)

_AGAIN: Final = timedelta(seconds=60)
_SOON: Final = timedelta(seconds=2)


class Subscription:
    """Creates and repairs the webhook: soon after the server came up, then every minute.

    Args:
        keep: Makes the webhook what it should be, and says what it had to do.
        leads: Whether this process acts; another one keeps the webhook otherwise.
        changed: Called after the webhook was created or repaired, since events may be lost before.
        now: The clock.

    Attributes:
        kept_at: When the webhook was last seen in order; None before the first time.
        problem: Why it could not be kept at the last try; None if it could.
    """

    def __init__(
        self,
        *,
        keep: Callable[[], WebhookAction],
        leads: Callable[[], bool],
        changed: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._keep = keep
        self._leads = leads
        self._changed = changed
        self._now = now
        self._due = now()
        self.kept_at: datetime | None = None
        self.problem: ConchError | None = None

    def run(self) -> None:
        """Keep the webhook if it is time to; a server that is away or refuses raises nothing."""
        if not self._leads() or self._now() < self._due:
            return
        try:
            action = self._keep()
        except ConchError as error:
            if self.problem is None or self.problem.code != error.code:
                log.warning("webhook: %s", error)
            self.problem = error
            self._due = self._now() + (_SOON if error.retryable else _AGAIN)
            return
        first = self.kept_at is None
        self.problem = None
        self.kept_at = self._now()
        self._due = self.kept_at + _AGAIN
        if action is not WebhookAction.KEPT:
            log.info("webhook: %s", action)
        if first or action is not WebhookAction.KEPT:
            self._changed()
