"""When which division of traffic was in force, as far as that was seen.

A request is put into a stage by its time. Between two looks weights may have moved, clocks differ
by a little, and a gateway takes a moment; so a period reaches from the first look that showed a
division to the last one, and a margin at both ends belongs to nobody. What is left out is left out
for every arm alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conch.core import TrafficSplit, TritonName

_KEPT_S: Final = 900.0


@dataclass(slots=True)
class _Period:
    split: TrafficSplit
    first_s: float
    last_s: float


class Periods:
    """Periods of constant division by model; those of the last quarter of an hour are kept.

    Args:
        margin_s: How far clocks may differ, and how long a gateway may take, in seconds.
    """

    def __init__(self, *, margin_s: float) -> None:
        self._margin_s = margin_s
        self._periods: dict[TritonName, list[_Period]] = {}
        self._seen: set[TritonName] = set()

    def look(self, routes: Mapping[TritonName, TrafficSplit], at_s: float) -> None:
        """Take in which divisions are in force.

        Args:
            routes: By model; a model without one has weights that move at this moment. None at all
                where the cluster cannot be seen.
            at_s: A moment just before that was asked, Unix seconds; later than at the last look.
        """
        for model, split in routes.items():
            periods = self._periods.setdefault(model, [])
            if model in self._seen and periods and periods[-1].split == split:
                periods[-1].last_s = at_s
            else:
                periods.append(_Period(split, at_s, at_s))
        self._seen = set(routes)
        for model, periods in list(self._periods.items()):
            kept = [one for one in periods if one.last_s > at_s - _KEPT_S]
            if kept:
                self._periods[model] = kept
            else:
                del self._periods[model]

    def find(self, model: TritonName, at_s: float) -> TrafficSplit | None:
        """Return the division that was in force at a moment; None where that is not certain."""
        for one in self._periods.get(model, ()):
            if one.first_s + self._margin_s <= at_s <= one.last_s - self._margin_s:
                return one.split
        return None
