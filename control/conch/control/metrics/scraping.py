"""conch's own scraper: pages in Prometheus's text format, kept for a short window in memory."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from conch.core import ConchError

from .series import Sample, Selector, SeriesUnavailableError, Track, Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of metrics.

    Attributes:
        name: What it is, for the log.
        fetch: Returns its text; raises an `OSError` or a `ConchError` where nothing answers.
        labels: Added to each of its series.
        prefixes: Only metrics whose name begins with one of these are kept.
    """

    name: str
    fetch: Callable[[], str]
    labels: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("",)


class Scraper:
    """Looks at every page now and then, and remembers the samples of a short window.

    A page that does not answer leaves no samples: its series become stale, then have a gap.

    Args:
        pages: Returns the pages of the moment.
        now: The clock, Unix seconds.
        keep_s: How long samples are kept.
    """

    def __init__(
        self,
        pages: Callable[[], Iterable[Page]],
        *,
        now: Callable[[], float],
        keep_s: float = 900.0,
    ) -> None:
        self._pages = pages
        self._now = now
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._kept: dict[str, dict[tuple[tuple[str, str], ...], deque[Sample]]] = {}
        self._looked = False

    def scrape(self) -> None:
        """Look at every page once."""
        for page in self._pages():
            try:
                text = page.fetch()
                self._take(page, text)
            except (OSError, ConchError, ValueError) as error:
                log.debug("scraping %s: %s", page.name, error)
        self._looked = True
        self._forget()

    def tracks(self, selector: Selector, window: Window) -> tuple[Track, ...]:
        """Return the matching series; see `SeriesSource`."""
        if not self._looked:
            raise SeriesUnavailableError("No metrics have been collected yet.")
        wanted = set(selector.labels.items())
        with self._lock:
            # The parser gives every counter the ending `_total`, whether its page does or not.
            named = self._kept.get(selector.name) or self._kept.get(f"{selector.name}_total", {})
            kept = [
                (labels, tuple(sample for sample in samples if sample.at_s >= window.start_s))
                for labels, samples in named.items()
                if wanted <= set(labels)
            ]
        return tuple(Track(labels=dict(labels), samples=found) for labels, found in kept if found)

    def _take(self, page: Page, text: str) -> None:
        at_s = self._now()
        found: list[tuple[str, tuple[tuple[str, str], ...], float]] = []
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith(page.prefixes):
                    labels = tuple(sorted({**sample.labels, **page.labels}.items()))
                    found.append((sample.name, labels, float(sample.value)))
        with self._lock:
            for name, labels, value in found:
                self._kept.setdefault(name, {}).setdefault(labels, deque()).append(
                    Sample(at_s, value)
                )

    def _forget(self) -> None:
        oldest = self._now() - self._keep_s
        with self._lock:
            for series in self._kept.values():
                _drop_before(series.values(), oldest)
                for labels in [labels for labels, samples in series.items() if not samples]:
                    del series[labels]


def _drop_before(tracks: Iterable[deque[Sample]], oldest: float) -> None:
    for samples in tracks:
        while samples and samples[0].at_s < oldest:
            samples.popleft()
