"""The platform at a glance, and whether it is fit to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from conch.core import ConchError

from ..ports import Target
from .queries import Reading
from .views import PlatformView

STALE_AFTER_SWEEPS: Final = 6
"""So many missed looks at the registry make a control plane unready."""

_LEAST_STALE_S: Final = 30.0


class NotReadyError(ConchError):
    """The control plane runs and something that it needs does not; `details.checks` names it."""

    code = "not-ready"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the platform's own pages show.

    Attributes:
        sweep_s: Seconds between two looks at the registry.
    """

    reading: Reading
    target: Target
    environment: str
    inference_url: str
    mlflow_url: str
    sweep_s: float

    def platform(self, *, swept_at: datetime | None, now: datetime) -> PlatformView:
        """Return everything at a glance; a target that cannot be seen is shown as such."""
        state: Mapping[str, Any] | None = None
        problem: Mapping[str, Any] | None = None
        try:
            state = self.target.observe().as_dict()
        except ConchError as error:
            problem = error.as_dict()
        return PlatformView(
            environment=self.environment,
            inference_url=self.inference_url,
            mlflow_url=self.mlflow_url,
            swept_at=swept_at,
            sweep_age_s=None if swept_at is None else (now - swept_at).total_seconds(),
            counts=self.reading.counts(),
            target=state,
            problem=problem,
        )

    def check(self, *, swept_at: datetime | None, now: datetime) -> dict[str, str]:
        """Return each check with the word `ok`.

        Raises:
            NotReadyError: At least one fails; the message names the first.
        """
        checks = {
            "database": self._database(),
            "gateway": self._gateway(),
            "sweep": self._sweep(swept_at, now),
        }
        failed = {name: words for name, words in checks.items() if words != _OK}
        if failed:
            name, words = next(iter(failed.items()))
            raise NotReadyError(
                f"The control plane is not ready: {name}: {words}",
                hint="`conch status` shows every process with its log.",
                checks=checks,
            )
        return checks

    def _database(self) -> str:
        try:
            self.reading.counts()
        except ConchError as error:
            return error.message
        return _OK

    def _gateway(self) -> str:
        try:
            ready = self.target.observe().gateway_ready
        except ConchError as error:
            return error.message
        return _OK if ready else "the inference entry does not answer."

    def _sweep(self, swept_at: datetime | None, now: datetime) -> str:
        if swept_at is None:
            return "the registry was not seen yet."
        age_s = (now - swept_at).total_seconds()
        if age_s > max(_LEAST_STALE_S, STALE_AFTER_SWEEPS * self.sweep_s):
            return f"the registry was last seen {age_s:.0f} s ago."
        return _OK


_OK: Final = "ok"
