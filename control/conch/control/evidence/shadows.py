"""How two versions answered the same requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One request that two versions answered differently.

    Attributes:
        request_id: The gateway's id of the request.
        at_s: When it was asked, in seconds since the Unix epoch.
        kind: `label`, `distance`, `shape` or `error`.
        output: The output that differs; empty for an error.
        distance: Largest absolute difference of a number; None where there is none.
        inputs: What was asked, redacted as the capture's settings say; None where not kept.
        live: What the live version answered.
        candidate: What the candidate answered.
    """

    request_id: str
    at_s: float
    kind: str
    output: str = ""
    distance: float | None = None
    inputs: Any = None
    live: Any = None
    candidate: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSummary:
    """Mirrored requests, both answers of each compared.

    Attributes:
        pairs: Requests whose two answers were both seen.
        unpaired: Captured requests of which the other answer was not seen, in time.
        disagreements: Pairs that differ in a label, by more than the tolerance, in shape, or in
            that only the candidate failed.
        labels_differ: Pairs whose label (argmax, or an equal-or-not output) differs.
        candidate_errors: Pairs in which only the candidate failed.
        live_errors: Pairs in which only the live version failed.
        worst_distance: Largest absolute difference of a number seen; None before the first.
        tolerance: Distance above which a pair disagrees.
        live_ms: Latency of the live version by quantile, such as `{"p50": 1.2, "p99": 4.0}`.
        candidate_ms: Likewise of the candidate, on the same requests.
        worst: Some disagreements, the largest distances and latest errors first.
        since_s: When the first pair was asked; None before.
        cut_s: Up to when pairs were compared, in seconds since the Unix epoch.
    """

    pairs: int = 0
    unpaired: int = 0
    disagreements: int = 0
    labels_differ: int = 0
    candidate_errors: int = 0
    live_errors: int = 0
    worst_distance: float | None = None
    tolerance: float = 0.0
    live_ms: Mapping[str, float] = field(default_factory=dict)
    candidate_ms: Mapping[str, float] = field(default_factory=dict)
    worst: tuple[Disagreement, ...] = ()
    since_s: float | None = None
    cut_s: float = 0.0

    @property
    def disagreement_rate(self) -> float | None:
        """Share of pairs that disagree; None without pairs."""
        return self.disagreements / self.pairs if self.pairs else None
