"""Who gets which version: weighted arms that stick to the unit.

The data plane (Envoy) hashes the value of the unit header together with a salt and takes it modulo
the total weight; `TrafficSplit.arm_of` computes the same, so that the arm of any unit is known
without asking a server. Measured against Envoy 1.40 for HTTP and gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import xxhash

from .errors import InvalidValueError
from .names import Ordinal, SlotName, TritonName

TOTAL_WEIGHT: Final = 10_000
"""Weights are basis points. The total never changes: another total re-deals everybody."""

UNIT_HEADER: Final = "x-conch-unit"
"""The request header (gRPC: metadata key) whose value sticks to its arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One version of a model as a destination of traffic.

    Attributes:
        slot: The group of servers that holds the version.
        ordinal: The version as Triton names it.
        build_id: The build that the version came from.
        weight: Share of traffic in basis points, 0 to 10,000.
        baked: Whether the version was live for its whole bake time. One that was not may yet crash
            servers, so a request over which a server vanished is not given to the next one, and
            while it has no more than half of the traffic, half of its slot's servers are kept
            out of its reach.
    """

    slot: SlotName
    ordinal: Ordinal
    build_id: str
    weight: int
    baked: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= TOTAL_WEIGHT:
            raise InvalidValueError(
                f"Weight {self.weight} of slot {self.slot!r} is outside 0..{TOTAL_WEIGHT}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A share of requests that a second version answers too, for comparison only.

    Attributes:
        slot: Where the copies go; the callers never see what it answers.
        share: Of the requests, in basis points, 1 to 10,000.
        release: The release that they are compared for.
    """

    slot: SlotName
    share: int
    release: str

    def __post_init__(self) -> None:
        if not 0 < self.share <= TOTAL_WEIGHT:
            raise InvalidValueError(f"A mirror of {self.share} is outside 1..{TOTAL_WEIGHT}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplit:
    """How one model's traffic is divided.

    Attributes:
        model: The model on the wire.
        arms: Destinations, the candidate *first*: a unit once in the candidate then stays in it
            while the candidate's weight grows. Weights add up to 10,000.
        salt: Part of the hash; a new one for each release, so that the same units are not the
            first to meet every new version.
        release: The release or experiment whose split this is; empty for none. Every request that
            the split divides is counted under it.
        stage: Which period of constant weights this is, from 0. It grows with every change of
            weights within a release, since what was counted under different weights is never
            pooled.
        captured: The share of requests whose inputs and outputs are kept, in basis points.
        mirror: The share that is mirrored; those requests are captured on both sides, in place of
            `captured`.
    """

    model: TritonName
    arms: tuple[Arm, ...]
    salt: str
    release: str = ""
    stage: int = 0
    captured: int = 0
    mirror: Mirror | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.captured <= TOTAL_WEIGHT:
            raise InvalidValueError(f"{self.model!r} captures {self.captured} basis points.")
        if self.stage < 0:
            raise InvalidValueError(f"{self.model!r} has the stage {self.stage}, below 0.")
        if self.stage and not self.release:
            raise InvalidValueError(f"{self.model!r} has a stage of no release.")
        total = sum(arm.weight for arm in self.arms)
        if total != TOTAL_WEIGHT:
            raise InvalidValueError(
                f"The weights of {self.model!r} add up to {total}, not {TOTAL_WEIGHT}."
            )
        slots = [arm.slot for arm in self.arms]
        if len(set(slots)) != len(slots):
            raise InvalidValueError(f"{self.model!r} has two arms in one slot: {slots}.")

    def arm_of(self, unit: str) -> Arm:
        """Return the arm that serves a unit: `xxh64(unit + ":" + salt) mod 10,000`, seed 0.

        >>> stable = Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="x", weight=10_000)
        >>> split = TrafficSplit(model=TritonName("m"), arms=(stable,), salt="r1")
        >>> split.arm_of("user-7").slot
        'a'
        """
        point = xxhash.xxh64_intdigest(f"{unit}:{self.salt}".encode()) % TOTAL_WEIGHT
        for arm in self.arms:
            if point < arm.weight:
                return arm
            point -= arm.weight
        raise AssertionError("weights add up to the total")  # pragma: no cover
