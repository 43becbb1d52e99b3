"""Counters over time, from Prometheus or from conch's own scraper, and what may be said of them.

A reading is a number or the reason why there is none: a gap, a counter that began anew, a series
that is stale or absent, clocks that disagree. It is never a number in spite of one of these.

Under sticky routing such readings are diagnostics: they count requests, and requests of one unit go
together. They could decide only where every request is routed by itself at random.
"""

from .arms import ArmReadings, read_arm
from .collecting import PREFIXES, ArmMetrics, Metrics
from .merging import merged
from .prometheus import PrometheusSource
from .readings import Reading, Trouble, increase, quantile
from .scraping import Page, Scraper
from .series import (
    ClocksDisagreeError,
    Sample,
    Selector,
    SeriesSource,
    SeriesUnavailableError,
    Track,
    Window,
)

__all__ = [
    "PREFIXES",
    "ArmMetrics",
    "ArmReadings",
    "ClocksDisagreeError",
    "Metrics",
    "Page",
    "PrometheusSource",
    "Reading",
    "Sample",
    "Scraper",
    "Selector",
    "SeriesSource",
    "SeriesUnavailableError",
    "Track",
    "Trouble",
    "Window",
    "increase",
    "merged",
    "quantile",
    "read_arm",
]
