"""How a build wants to be served, wherever that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from .errors import InvalidValueError
from .formats import ModelFormat, Pin, Precision

_LARGEST_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpec:
    """Serving options of one build, set by `triton.*` tags in the registry.

    Attributes:
        max_batch_size: Largest batch that the server forms, in rows; 0 for a model without a
            batch dimension.
        queue_delay_us: How long the dynamic batcher may hold a request to fill a batch, in us.
        instances: Copies of the model per server.
        preferred_batch_sizes: Batch sizes that the dynamic batcher aims for; empty for none.
        queue_size: Requests that may wait; 0 for no limit. Beyond it callers get 503 at once.
        queue_timeout_us: How long a request may wait before it is refused, in us; 0 for no limit.
        priority_levels: Levels that requests may name, 1 the most urgent; those that name none are
            in the middle. 0 for none.
        response_cache: Whether the server may answer a repeated request from its cache, where it
            has one. Safe: a version number is never used for two builds.
        format: The one format to serve; None: the fastest that is proven.
        precision: The one precision to serve; None: as the model was registered.
        lossy: Whether coarser precisions (FP16, BF16, INT8) may be chosen where they are proven
            within their own, wider tolerances, and faster.
    """

    max_batch_size: int = 64
    queue_delay_us: int = 500
    instances: int = 1
    preferred_batch_sizes: tuple[int, ...] = ()
    queue_size: int = 0
    queue_timeout_us: int = 0
    priority_levels: int = 0
    response_cache: bool = False
    format: ModelFormat | None = None
    precision: Precision | None = None
    lossy: bool = False

    @property
    def pin(self) -> Pin:
        """What a person insists on."""
        return Pin(format=self.format, precision=self.precision)

    def __post_init__(self) -> None:
        _within("max_batch_size", self.max_batch_size, 0, _LARGEST_BATCH)
        _within("queue_delay_us", self.queue_delay_us, 0, 10_000_000)
        _within("instances", self.instances, 1, 64)
        _within("queue_size", self.queue_size, 0, 1_000_000)
        _within("queue_timeout_us", self.queue_timeout_us, 0, 3_600_000_000)
        _within("priority_levels", self.priority_levels, 0, 32)
        for size in self.preferred_batch_sizes:
            _within("preferred_batch_sizes", size, 1, max(1, self.max_batch_size))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {**asdict(self), "preferred_batch_sizes": list(self.preferred_batch_sizes)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote; keys left out take their defaults.

        Raises:
            InvalidValueError: A key is unknown or a value is out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(value) - known):
            raise InvalidValueError(
                f"Unknown serving option(s): {', '.join(unknown)}.",
                hint=f"Known are: {', '.join(sorted(known))}.",
            )
        sizes = tuple(value.get("preferred_batch_sizes", ()))
        kinds = {"format": ModelFormat, "precision": Precision}
        read = {key: kinds[key](value[key]) for key in kinds if value.get(key) is not None}
        return cls(**{**value, **read, "preferred_batch_sizes": sizes})


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidValueError(f"{name} is {value}; it must lie in {low}..{high}.")
