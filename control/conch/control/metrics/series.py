"""Series of samples, and the port that finds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from conch.core import ConchError, InvalidValueError


class SeriesUnavailableError(ConchError):
    """Whoever keeps the series does not answer."""

    code = "series-unavailable"
    retryable = True


class ClocksDisagreeError(ConchError):
    """Whoever keeps the series has another time than this machine."""

    code = "clocks-disagree"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which series are meant.

    Attributes:
        name: The metric's name.
        labels: Labels that a series must have; it may have others.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f'{key}="{value}"' for key, value in sorted(self.labels.items()))
        return f"{self.name}{{{inside}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time that ends now, and how often it should have been looked at.

    Attributes:
        now_s: Its end, Unix seconds.
        length_s: Its length.
        every_s: Time between two samples.
    """

    now_s: float
    length_s: float
    every_s: float

    def __post_init__(self) -> None:
        if not 0.0 < self.every_s <= self.length_s:
            raise InvalidValueError(
                f"No window has {self.length_s} s and a sample every {self.every_s} s."
            )

    @property
    def start_s(self) -> float:
        """Its beginning, Unix seconds."""
        return self.now_s - self.length_s

    @property
    def longest_gap_s(self) -> float:
        """Time without a sample after which something is missing: two and a half intervals."""
        return 2.5 * self.every_s


@dataclass(frozen=True, slots=True)
class Sample:
    """A value at a time, Unix seconds."""

    at_s: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One series: its labels, and its samples in the order in which they were taken."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]


class SeriesSource(Protocol):
    """Where samples come from."""

    def tracks(self, selector: Selector, window: Window) -> tuple[Track, ...]:
        """Return the matching series that have a sample since the window's beginning.

        Samples that lie after its end are among them: they tell of clocks that disagree.

        Raises:
            SeriesUnavailableError: Nothing answers.
            ClocksDisagreeError: It has another time than `window.now_s`.
        """
        ...
