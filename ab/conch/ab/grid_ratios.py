"""Sequential tests of the ratio of two arms' quantiles or bounded means, without approximation.

"The candidate's parameter is at most r times the control's" means: for some x, the control's is x
and the candidate's at most r x. The evidence against it is the product of the control's against x
and the candidate's against r x, at the x that both together speak against least: at the true x
that product is an e-process, and the least is no larger (Howard and Ramdas 2022, section 6, with a
margin and one side). The grid is logarithmic, so that r moves it onto itself; between two points
the unfavourable one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .errors import require_alpha
from .grid_arms import GridArm
from .histograms import steps_down, steps_up, value_at

ArmPair = tuple[GridArm, GridArm]
"""Control and candidate of one stage."""


def log_e_grid_above(stages: Sequence[ArmPair], ratio: float) -> float:
    """Return the log e-value for "the candidate's is above `ratio` times the control's".

    Evidence of the stages is multiplied: in each the control may be somewhere else.
    """
    return _above(stages, steps_up(ratio))


def log_e_grid_below(stages: Sequence[ArmPair], ratio: float) -> float:
    """Return the log e-value for "the candidate's is below `ratio` times the control's"."""
    return _below(stages, steps_down(ratio))


def grid_ratio_interval(stages: Sequence[ArmPair], alpha: float) -> tuple[float, float]:
    """Return the ratios that neither side's e-process has refuted at level alpha / 2.

    Valid at every moment at once; a side that nothing limits is 0 or infinity.
    """
    limit = math.log(2.0 / require_alpha(alpha))
    widest = max(arm.last for pair in stages for arm in pair) - min(
        arm.first for pair in stages for arm in pair
    )
    lower = _last(lambda k: _above(stages, k) > limit, -widest, widest)
    upper = _last(lambda k: _below(stages, -k) > limit, -widest, widest)
    return (
        0.0 if lower is None else value_at(lower),
        math.inf if upper is None else value_at(-upper),
    )


def grid_ratio(stages: Sequence[ArmPair], weights: Sequence[float]) -> float:
    """Return the stages' estimated ratios, averaged on the logarithmic scale."""
    logs = [math.log(candidate.estimate / control.estimate) for control, candidate in stages]
    return math.exp(float(np.average(logs, weights=weights)))


def _above(stages: Sequence[ArmPair], k: int) -> float:
    total = 0.0
    for control, candidate in stages:
        at = _points(control, candidate, k)
        total += float(np.min(control.log_e_below(at) + candidate.log_e_above(at + 1 + k)))
    return total


def _below(stages: Sequence[ArmPair], k: int) -> float:
    total = 0.0
    for control, candidate in stages:
        at = _points(control, candidate, k)
        total += float(np.min(control.log_e_above(at + 1) + candidate.log_e_below(at + k)))
    return total


def _points(
    control: GridArm, candidate: GridArm, k: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return every point at which one of the two arms' evidence changes."""
    first = min(control.first, candidate.first - k) - 2
    last = max(control.last, candidate.last - k) + 2
    return np.arange(first, last + 1, dtype=np.int64)


def _last(found: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the largest number for which a falling condition holds; None where it never does."""
    if not found(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) else (low, middle)
    return low
