"""What a newly verified version does by itself, as the reconciler asks it."""

from __future__ import annotations

import logging

from ..plans import ByItself, PlanBook, PlanInvalidError
from ..state import Build, Model

log = logging.getLogger(__name__)


class ReleasePolicy:
    """Answers by the settings and the model's tags; a mistake there is told once, and waits.

    Args:
        plans: Which plan a release gets.
    """

    def __init__(self, plans: PlanBook) -> None:
        self._plans = plans
        self._told: dict[str, str] = {}

    def __call__(self, model: Model, candidate: Build, live: Build) -> ByItself | None:
        same = bool(candidate.graph_digest) and candidate.graph_digest == live.graph_digest
        try:
            found = self._plans.by_itself(tags=model.tags, same_graph=same)
        except PlanInvalidError as error:
            if self._told.get(model.id) != error.message:
                log.error("%s: no release by itself: %s", model.name, error.message)
                self._told[model.id] = error.message
            return None
        self._told.pop(model.id, None)
        if found is None or found.plan is None or same or not found.plan.patch_only:
            return found
        return None  # new weights only, by that plan, and this is another graph
