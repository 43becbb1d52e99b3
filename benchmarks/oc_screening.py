"""Where a decision could fall: every look of many simulated releases at once, in NumPy.

`decide` stays the judge. For plans whose guardrails are event rates this module computes the same
e-values for all runs and looks together, and says at which looks one of them comes within `SLACK`
of its threshold; only there `decide` is asked. At every other look it cannot act, because no
e-value is where acting begins; the benchmark asks it at a sample of those, too, and stops with an
error should it ever disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from conch.ab import Kind, ReleasePlan, not_worse_prior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLACK = 1e-6
_TINY = 1e-290


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of many runs.

    Attributes:
        share: Candidate's planned share.
        units: Candidate and control units at each look, int64[2, runs, looks].
        events: Their events, int64[2, runs, looks, metrics].
    """

    share: float
    units: Ints
    events: Ints


def may_roll_back(plan: ReleasePlan, stages: list[Stage]) -> NDArray[np.bool_]:
    """Return at which looks of the last stage harm could be proven, bool[runs, looks].

    Earlier stages count as they were at their own last look.
    """
    guardrails = plan.of_kind(Kind.GUARDRAIL)
    limit = math.log(len(guardrails) / plan.alpha)
    found = [
        _log_e(
            stages, index, 1.0 + metric.harm_beyond, (1.0, 0.0, metric.concentration), upper=True
        )
        for index, metric in enumerate(guardrails)
    ]
    return np.asarray(np.max(found, axis=0) > limit - SLACK)


def may_promote(plan: ReleasePlan, stages: list[Stage]) -> NDArray[np.bool_]:
    """Return at which looks of the last stage every guardrail could be shown not worse."""
    found = []
    for index, metric in enumerate(plan.of_kind(Kind.GUARDRAIL)):
        prior = not_worse_prior(metric.margin)
        start = (prior.centre, prior.log_sd**-2, 0.0)
        found.append(_log_e(stages, index, 1.0 + metric.margin, start, upper=False))
    return np.asarray(np.min(found, axis=0) > -math.log(plan.alpha) - SLACK)


def log_e_split(candidate: Ints, total: Ints, share: float, concentration: float) -> Floats:
    """Return the sample-ratio e-process of two arms, any shape."""
    control = total - candidate
    a, b = concentration * share, concentration * (1.0 - share)
    return np.asarray(
        special.betaln(a + candidate, b + control)
        - special.betaln(a, b)
        - candidate * math.log(share)
        - control * math.log1p(-share)
    )


def _log_e(
    stages: list[Stage],
    metric: int,
    bound: float,
    start: tuple[float, float, float],
    *,
    upper: bool,
) -> Floats:
    """Return log e-values over stages as `event_rates` defines them, float64[runs, looks].

    Args:
        start: The first prior's ratio, its information, and the least weight of every prior.
    """
    ratio: Floats | float = start[0]
    information: Floats | float = start[1]
    if start[1] == 0.0:
        ratio = bound
    value: Floats | float = 0.0
    tail = special.betaincc if upper else special.betainc
    for number, stage in enumerate(stages):
        last = number == len(stages) - 1
        x, y = stage.events[0, :, :, metric], stage.events[1, :, :, metric]
        if not last:
            x, y = x[:, -1:], y[:, -1:]
        share = stage.share
        theta = share * ratio / (1.0 - share + share * ratio)
        weight = np.maximum(start[2], information / (theta * (1.0 - theta)))
        a, b = weight * theta, weight * (1.0 - theta)
        t = share * bound / (1.0 - share + share * bound)
        value = value + (
            special.betaln(a + x, b + y)
            + np.log(np.maximum(tail(a + x, b + y, t), _TINY))
            - special.betaln(a, b)
            - np.log(np.maximum(tail(a, b, t), _TINY))
            - x * math.log(t)
            - y * math.log1p(-t)
        )
        a, b = a + x, b + y
        ratio = (a / b) * (1.0 - share) / share
        information = a * b / (a + b)
    return np.asarray(value)
