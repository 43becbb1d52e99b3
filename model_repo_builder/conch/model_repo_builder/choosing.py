"""Which of the proven variants serves: a pure function of what was measured.

A variant takes the place of the first one of the plan only if it is clearly faster: a tie or noise
must not change what serves, and a build should choose alike when it is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .timing import Times

MARGIN: Final = 0.15
"""A variant must be this much faster over all batch sizes, and at none this much slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What serves, and why.

    Attributes:
        name: The variant.
        reason: In words.
        speedups: By variant, how many times as fast as the first of the plan: the geometric mean
            over the batch sizes.
    """

    name: str
    reason: str
    speedups: Mapping[str, float]


def choose(times: Mapping[str, Times], *, order: Sequence[str], margin: float = MARGIN) -> Chosen:
    """Choose among variants.

    Args:
        times: By variant.
        order: The variants that may serve, in the order of the plan, one at least; the first is
            what others are measured against.
        margin: See `MARGIN`.

    >>> times = {"onnx:fp32": {1: 100.0, 8: 200.0}, "openvino:fp32": {1: 50.0, 8: 100.0}}
    >>> choose(times, order=["onnx:fp32", "openvino:fp32"]).name
    'openvino:fp32'
    >>> times["openvino:fp32"] = {1: 95.0, 8: 190.0}
    >>> choose(times, order=["onnx:fp32", "openvino:fp32"]).name
    'onnx:fp32'
    """
    first = order[0]
    speedups = {name: speedup(times[first], times[name]) for name in order}
    if len(order) == 1:
        return Chosen(name=first, reason="the only variant that may serve", speedups=speedups)
    able = [name for name in order[1:] if _clearly_faster(times[first], times[name], margin)]
    if not able:
        reason = f"no other variant is {margin:.0%} faster at the batch sizes in use"
        return Chosen(name=first, reason=reason, speedups=speedups)
    best = max(able, key=lambda name: speedups[name])
    reason = f"{speedups[best]:.2f} times as fast as {first}, the fastest that was proven"
    return Chosen(name=best, reason=reason, speedups=speedups)


def speedup(before: Times, after: Times) -> float:
    """Return how many times as fast, as the geometric mean over the batch sizes."""
    return math.exp(sum(math.log(before[size] / after[size]) for size in before) / len(before))


def table(
    times: Mapping[str, Times], chosen: Chosen, *, against: str
) -> tuple[dict[str, Any], ...]:
    """Return the measurements as JSON-compatible rows.

    Args:
        times: By variant; further names, such as the source's, are rows too.
        chosen: What serves.
        against: The variant that is the unoptimised one.
    """
    return tuple(
        {
            "name": name,
            "times_us": {str(size): value for size, value in one.items()},
            "speedup": round(speedup(times[against], one), 3),
            "serves": name == chosen.name,
        }
        for name, one in times.items()
    )


def _clearly_faster(before: Times, after: Times, margin: float) -> bool:
    slowest = min(before[size] / after[size] for size in before)
    return speedup(before, after) >= 1 + margin and slowest >= 1 / (1 + margin)
