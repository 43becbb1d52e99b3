"""A histogram of latencies, for people: no decision is taken from it."""

from __future__ import annotations

import math
from typing import Final

_GROWTH: Final = 1.05
_LEAST_MS: Final = 0.01
_LOG: Final = math.log(_GROWTH)


class LatencyHistogram:
    """Counts in buckets that grow by 5 %, so a quantile is right to 2.5 %."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, latency_ms: float) -> None:
        """Count one."""
        bucket = math.ceil(math.log(max(latency_ms, _LEAST_MS) / _LEAST_MS) / _LOG)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self._counts.values())

    def quantile_ms(self, q: float) -> float | None:
        """Return a quantile, in milliseconds; None while nothing was counted.

        >>> histogram = LatencyHistogram()
        >>> for latency_ms in (1.0, 2.0, 100.0):
        ...     histogram.add(latency_ms)
        >>> round(histogram.quantile_ms(0.5))
        2
        """
        rank = q * self.count
        passed = 0
        for bucket in sorted(self._counts):
            passed += self._counts[bucket]
            if passed >= rank:
                return float(_LEAST_MS * _GROWTH ** (bucket - 0.5))
        return None
