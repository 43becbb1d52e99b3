"""Metrics of a running platform: where they come from, and what each arm of a model did lately."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from conch.core import ConchError, TrafficSplit

from ..reading import CountsView
from .arms import ArmReadings, read_arm
from .merging import merged
from .prometheus import PrometheusSource
from .scraping import Page, Scraper
from .series import SeriesSource, Window

PREFIXES: Final = ("nv_inference_", "envoy_cluster_upstream_rq_time")
"""What conch's own scraper keeps: what `read_arm` reads."""

_GAUGES: Final = {
    "models": "Registered models that conch knows.",
    "versions": "Their versions.",
    "live": "Models that answer.",
    "refused": "Versions that were refused.",
    "open_releases": "Releases that hold their model.",
    "open_jobs": "Jobs that are queued or running.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMetrics:
    """One arm of a model's traffic, and what was counted of it.

    Attributes:
        slot: Its slot.
        ordinal: Its version as Triton names it.
        build_id: The build.
        weight: Its share in basis points.
        readings: Over the window.
    """

    slot: str
    ordinal: int
    build_id: str
    weight: int
    readings: ArmReadings


class Metrics:
    """What the servers and the gateway count.

    Args:
        pages: The pages of the moment, each with the labels of its server.
        now: The clock, Unix seconds.
        every_s: Time between two looks.
        window_s: What readings are taken over.
        prometheus_url: A Prometheus that looks at `page()`; None: conch looks itself.
    """

    def __init__(
        self,
        pages: Callable[[], Iterable[Page]],
        *,
        now: Callable[[], float],
        every_s: float,
        window_s: float,
        prometheus_url: str | None = None,
    ) -> None:
        self._pages = pages
        self._now = now
        self._every_s = every_s
        self._window_s = window_s
        self._scraper = None
        if prometheus_url is None:
            self._scraper = Scraper(pages, now=now, keep_s=2 * window_s)
        self._url = prometheus_url

    def look(self) -> None:
        """Look at every page once, unless a Prometheus does."""
        if self._scraper is not None:
            self._scraper.scrape()

    def arms(self, split: TrafficSplit) -> tuple[ArmMetrics, ...]:
        """Return what each arm of a model did in the last window.

        Raises:
            PrometheusMissingError: A Prometheus is to be asked, and its client is not installed.
        """
        source: SeriesSource = self._scraper or PrometheusSource(self._url or "")
        window = Window(now_s=self._now(), length_s=self._window_s, every_s=self._every_s)
        return tuple(
            ArmMetrics(
                slot=arm.slot,
                ordinal=arm.ordinal,
                build_id=arm.build_id,
                weight=arm.weight,
                readings=read_arm(source, split.model, arm.ordinal, arm.slot, window),
            )
            for arm in split.arms
        )

    def page(self, counts: CountsView) -> str:
        """Return everything in Prometheus's text format: conch's counts, then each server's page.

        A server that does not answer is missing from it, as it is missing.
        """
        found: list[tuple[str, dict[str, str]]] = [(_own(counts), {})]
        for page in self._pages():
            try:
                found.append((page.fetch(), dict(page.labels)))
            except (OSError, ConchError):
                continue
        return merged(found)


class _Counts(Collector):
    def __init__(self, counts: CountsView) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        for name, words in _GAUGES.items():
            yield GaugeMetricFamily(f"conch_{name}", words, value=getattr(self._counts, name))


def _own(counts: CountsView) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(counts))
    return generate_latest(registry).decode()
