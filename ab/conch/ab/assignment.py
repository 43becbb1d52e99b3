"""Who gets which variation of an experiment inside an application, as GrowthBook assigns.

This is for experiments that an application runs itself. Which *version of a model* serves a unit
is the data plane's business (`conch.core.TrafficSplit`).

Raise `coverage` while an experiment runs, never `weights`: ranges start at the cumulative weight,
so more coverage moves nobody between variations, and other weights do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError
from .hashing import HashVersion, bucket, buckets

NOT_ASSIGNED = -1
"""The variation of a unit that is outside every range."""


@dataclass(frozen=True, slots=True)
class BucketRange:
    """A half-open part [start, end) of the hash line."""

    start: float
    end: float

    def __contains__(self, point: float) -> bool:
        return self.start <= point < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A slice of units that excludes experiments of the same namespace from each other.

    Attributes:
        name: The namespace; part of its own hash, so that it is independent of assignments.
        start: Start of the slice, inclusive.
        end: End of the slice, exclusive.
    """

    name: str
    start: float
    end: float

    def holds(self, unit: str) -> bool:
        """Tell whether a unit is in the slice."""
        return bucket("__" + self.name, unit, 1) in BucketRange(self.start, self.end)


def bucket_ranges(
    count: int, *, coverage: float = 1.0, weights: Sequence[float] | None = None
) -> tuple[BucketRange, ...]:
    """Return one range per variation.

    Args:
        count: Number of variations.
        coverage: Share of units in the experiment; clamped to 0..1.
        weights: Share of each variation; equal when absent, of another length, or not adding up
            to 1 within 0.01.

    >>> bucket_ranges(2, coverage=0.2)
    (BucketRange(start=0.0, end=0.1), BucketRange(start=0.5, end=0.6))
    """
    covered = min(1.0, max(0.0, coverage))
    shares = list(weights or ())
    if len(shares) != count or not 0.99 <= sum(shares) <= 1.01:
        shares = [1.0 / count] * count
    ranges, start = [], 0.0
    for share in shares:
        ranges.append(BucketRange(start, start + covered * share))
        start += share
    return tuple(ranges)


def choose_variation(point: float, ranges: Sequence[BucketRange]) -> int:
    """Return the index of the first range that holds the point, or `NOT_ASSIGNED`.

    >>> choose_variation(0.55, bucket_ranges(2, coverage=0.2))
    1
    """
    return next((i for i, found in enumerate(ranges) if point in found), NOT_ASSIGNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A set of variations and who gets them.

    Attributes:
        key: Identity of the experiment; the hash seed unless `seed` is given.
        variations: Number of variations; the first is the control.
        ranges: Range of each variation; see `bucket_ranges`.
        seed: Hash seed; None takes the key.
        hash_version: 2, or 1 for agreement with older assignments.
        namespace: Slice of units that may take part; None for all.
    """

    key: str
    variations: int
    ranges: tuple[BucketRange, ...]
    seed: str | None = None
    hash_version: HashVersion = 2
    namespace: Namespace | None = None

    def __post_init__(self) -> None:
        if len(self.ranges) != self.variations:
            raise PlanError(
                f"Experiment {self.key!r} has {self.variations} variations "
                f"and {len(self.ranges)} ranges.",
                hint="Give one range per variation.",
            )

    @classmethod
    def weighted(
        cls,
        key: str,
        variations: int,
        *,
        coverage: float = 1.0,
        weights: Sequence[float] | None = None,
        seed: str | None = None,
        hash_version: HashVersion = 2,
        namespace: Namespace | None = None,
    ) -> Self:
        """Build an experiment from weights and coverage.

        >>> Experiment.weighted("demo", 2).variation_of("user-7")
        1
        """
        return cls(
            key=key,
            variations=variations,
            ranges=bucket_ranges(variations, coverage=coverage, weights=weights),
            seed=seed,
            hash_version=hash_version,
            namespace=namespace,
        )

    def variation_of(self, unit: str) -> int:
        """Return a unit's variation, or `NOT_ASSIGNED` when it takes no part."""
        if self.variations < 2 or not unit:
            return NOT_ASSIGNED
        if self.namespace is not None and not self.namespace.holds(unit):
            return NOT_ASSIGNED
        point = bucket(self._seed, unit, self.hash_version)
        return choose_variation(point, self.ranges)

    def variations_of(self, units: Sequence[str]) -> NDArray[np.intp]:
        """Return `variation_of` for many units: intp[len(units)]."""
        chosen = np.full(len(units), NOT_ASSIGNED, dtype=np.intp)
        if self.variations < 2 or not len(units):
            return chosen
        points = buckets(self._seed, units, self.hash_version)
        for index in range(self.variations - 1, -1, -1):  # the first range that matches wins
            span = self.ranges[index]
            chosen[(points >= span.start) & (points < span.end)] = index
        if self.namespace is not None:
            slots = buckets("__" + self.namespace.name, units, 1)
            outside = (slots < self.namespace.start) | (slots >= self.namespace.end)
            chosen[outside] = NOT_ASSIGNED
        empty = np.fromiter((not unit for unit in units), dtype=np.bool_, count=len(units))
        chosen[empty] = NOT_ASSIGNED
        return chosen

    @property
    def _seed(self) -> str:
        return self.key if self.seed is None else self.seed
