"""A Bayesian read-out of one metric, for people. `decide` never looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .bayesian import NormalPrior, Posterior, normal_posterior
from .effects import arms_of_rates, effect_of
from .errors import CannotComputeError
from .evidence import StageEvidence, pairs_of
from .measuring import arms_of
from .metrics import Direction, Measure, Metric
from .moments import Counts

_FEWEST_EVENTS: Final = 5


def read_out(
    metric: Metric, stages: Sequence[StageEvidence], *, prior: NormalPrior | None = None
) -> Posterior:
    """Return what to believe about a metric's relative change.

    Each stage's arms give a normal likelihood; stages are combined by inverse variance, never
    pooled. Watching it until the chance to win passes 95% would err like a repeated test at 5%:
    it is for reading beside a decision, not for taking one.

    Args:
        metric: The metric; quantiles and scores have no posterior here.
        stages: Stages in order of time.
        prior: What is believed beforehand; None: the relative change is within 60%, N(0, 0.3^2).

    Raises:
        CannotComputeError: The data, or the kind of metric, do not determine it.
    """
    arms = []
    for _, item in pairs_of(stages, metric.name):
        if metric.measure in (Measure.QUANTILE, Measure.SCORE):
            raise CannotComputeError(f"a {metric.measure.value} has no Bayesian read-out here.")
        if isinstance(item.control, Counts) and isinstance(item.candidate, Counts):
            if min(item.control.events, item.candidate.events) >= _FEWEST_EVENTS:
                arms.append(arms_of_rates(item.control, item.candidate))
        elif min(item.control.n, item.candidate.n) >= metric.minimum_units:
            arms.append(arms_of(metric, item))
    if not arms:
        raise CannotComputeError("no stage has enough data in both arms for a normal likelihood.")
    effects = [effect_of(*pair, "relative") for pair in arms]
    precision = sum(effect.se**-2 for effect in effects)
    return normal_posterior(
        sum(effect.estimate * effect.se**-2 for effect in effects) / precision,
        1.0 / precision,
        prior=prior or NormalPrior(),
        lower_is_better=metric.direction is Direction.LOWER,
    )
