"""Samples from a Prometheus server, through `prometheus-api-client` (extra `prometheus`).

Raw samples are asked for (`name{...}[120s]`), not `rate(...)`: Prometheus's own functions bridge
gaps and resets by extrapolation, which is right for a graph and wrong for a decision.
"""

from __future__ import annotations

import importlib
import json
import math
from typing import Any

from conch.core import ConchError

from .series import (
    ClocksDisagreeError,
    Sample,
    Selector,
    SeriesUnavailableError,
    Track,
    Window,
)


class PrometheusMissingError(ConchError):
    """The client of Prometheus is not installed."""

    code = "prometheus-client-missing"


class PrometheusSource:
    """A Prometheus server.

    Args:
        url: Its address.
        timeout_s: Longest wait for an answer.

    Raises:
        PrometheusMissingError: `prometheus-api-client` is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        try:
            client = importlib.import_module("prometheus_api_client")
        except ImportError as error:
            raise PrometheusMissingError(
                "Reading from Prometheus needs prometheus-api-client.",
                hint="Install conch with its extra: pip install 'conch[prometheus]'.",
            ) from error
        self._url = url
        self._failures = (client.PrometheusApiClientException, OSError)
        self._connection = client.PrometheusConnect(url=url, timeout=timeout_s)

    def tracks(self, selector: Selector, window: Window) -> tuple[Track, ...]:
        """Return the matching series; see `SeriesSource`."""
        self._compare_clocks(window)
        length_ms = math.ceil((window.length_s + window.every_s) * 1000)
        # A look-back that ends an interval late finds samples that lie a little in the future.
        found = self._ask(
            f"{_escaped(selector)}[{length_ms}ms]", {"time": window.now_s + window.every_s}
        )
        tracks = []
        for series in found:
            samples = tuple(
                Sample(float(at), float(value))
                for at, value in series["values"]
                if float(at) >= window.start_s
            )
            if samples:
                labels = {
                    key: value for key, value in series["metric"].items() if key != "__name__"
                }
                tracks.append(Track(labels=labels, samples=samples))
        return tuple(tracks)

    def _compare_clocks(self, window: Window) -> None:
        theirs = float(self._ask("time()", {})[1])
        if abs(theirs - window.now_s) > window.longest_gap_s:
            raise ClocksDisagreeError(
                f"Prometheus at {self._url} is {theirs - window.now_s:+.1f} s from this machine's "
                "clock.",
                hint="Set both clocks, with NTP for instance.",
            )

    def _ask(self, query: str, params: dict[str, Any]) -> Any:
        try:
            return self._connection.custom_query(query, params=params)
        except self._failures as error:  # requests' errors are OSErrors
            raise SeriesUnavailableError(
                f"Prometheus at {self._url} did not answer {query!r}: {error}."
            ) from error


def _escaped(selector: Selector) -> str:
    r"""Return the selector in PromQL.

    >>> print(_escaped(Selector(name="up", labels={"job": 'a"b'})))
    up{job="a\"b"}
    """
    # A JSON string is a PromQL string.
    inside = ",".join(
        f"{key}={json.dumps(value)}" for key, value in sorted(selector.labels.items())
    )
    return f"{selector.name}{{{inside}}}"
