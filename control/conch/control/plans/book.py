"""Which plan a release gets: what was asked for, on top of what the settings and the model say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conch.ab import Baseline

from .bodies import completed, merged, read_plan_file
from .files import plan_from
from .presets import MANUAL, presets
from .values import Plan, PlanInvalidError

_SLOTS_OF_A_RELEASE: Final = 2
WAIT: Final = "wait"
"""A newly verified version waits for a person."""

PLAN_TAG: Final = "conch.release.plan"
SLO_TAG: Final = "conch.release.slo_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByItself:
    """What a newly verified version does without being asked.

    Attributes:
        plan: How it is released; None: it is loaded, and a person moves the traffic.
    """

    plan: Plan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBook:
    """Resolves plans by name.

    Attributes:
        usual: `wait`, `manual`, the name of a preset or the path of a plan file: what a newly
            verified version does.
        patch: Likewise for a version of the same graph with other weights; None: as `usual`.
        slo_ms: What counts as slow where neither the plan nor the model says, in milliseconds.
        slots: How many slots a model may be in; a baseline arm needs a third.
        shadows: Whether answers are captured, without which copies of requests compare nothing.
    """

    usual: str = WAIT
    patch: str | None = None
    slo_ms: float | None = None
    shadows: bool = True
    slots: int = 2

    def plan(
        self,
        asked: str | Mapping[str, Any] | None,
        *,
        changes: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any],
    ) -> Plan | None:
        """Return the plan of a release that a person starts; None for one by hand.

        Args:
            asked: A name, or the body of a plan; None: what the model's tag or the settings say.
            changes: Single fields on top of it.
            tags: The registered model's.

        Raises:
            PlanInvalidError: There is no such plan, it has a mistake, or it cannot be done here.
        """
        if asked is None:
            asked = self._usual(tags, same_graph=False)
            if asked == WAIT:
                asked = MANUAL
        if asked == MANUAL:
            if changes:
                raise PlanInvalidError(
                    "A release by hand has no fields to change.",
                    hint="Name a plan: --plan canary.",
                )
            return None
        known = presets(slo_ms=self._slo_ms(tags))
        body = self._body(asked)
        if changes:
            body = merged(completed(body, presets=known), changes)
        plan = plan_from(body, presets=known)
        if plan.shadow is not None and not self.shadows:
            raise PlanInvalidError(
                "shadow: answers are not captured here, so nothing could be compared.",
                hint="Turn on `capture.enabled` in the settings, or set `shadow` to false.",
            )
        if plan.rule.baseline is Baseline.EQUAL_SHARE and self.slots <= _SLOTS_OF_A_RELEASE:
            raise PlanInvalidError(
                f"equal_baseline: the baseline arm needs a third slot, and there are {self.slots}.",
                hint='Add one: `serving.slots = ["a", "b", "c"]`, then `conch up`; or compare at '
                "equal shares with `steps: [50]`.",
            )
        return plan

    def by_itself(self, *, tags: Mapping[str, Any], same_graph: bool) -> ByItself | None:
        """Return what a newly verified version does; None: it waits.

        Args:
            tags: The registered model's.
            same_graph: Whether only its weights differ from the live version's.

        Raises:
            PlanInvalidError: What the tag or the settings name is no plan.
        """
        usual = self._usual(tags, same_graph=same_graph)
        return None if usual == WAIT else ByItself(plan=self.plan(usual, tags=tags))

    def presets(self, tags: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """Return the bodies of the presets by name."""
        return presets(slo_ms=self._slo_ms(tags or {}))

    def _usual(self, tags: Mapping[str, Any], *, same_graph: bool) -> str:
        own = tags.get(PLAN_TAG)
        if own:
            return str(own)
        return self.patch if same_graph and self.patch else self.usual

    def _slo_ms(self, tags: Mapping[str, Any]) -> float | None:
        text = tags.get(SLO_TAG)
        if text is None:
            return self.slo_ms
        try:
            return float(text)
        except ValueError as error:
            raise PlanInvalidError(f"The model's tag {SLO_TAG} is {text!r}, no number.") from error

    def _body(self, asked: str | Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(asked, str):
            return dict(asked)
        if asked in presets(slo_ms=None):
            return {"plan": asked}
        path = Path(asked)
        if path.suffix in (".yaml", ".yml", ".json"):
            return read_plan_file(path)
        raise PlanInvalidError(
            f"plan: there is no preset {asked!r}.",
            hint=f"Known are {', '.join(sorted(presets(slo_ms=None)))}, {MANUAL}, or a file.",
        )
