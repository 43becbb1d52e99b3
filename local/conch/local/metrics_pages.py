"""The pages of metrics that the local target's servers offer."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .envoy.admin import EnvoyAdmin
from .homes import Home
from .instances import Phase
from .observed import read_observed

_TIMEOUT_S: Final = 2.0
# Only the slots' latencies: the whole page is some hundred kilobytes, most of it never looked at.
_ENVOY: Final = "/stats/prometheus?filter=%5Ecluster%5C.slot-%5B%5E.%5D%2B%5C.upstream_rq_time%24"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPage:
    """One page in Prometheus's text format.

    Attributes:
        name: The instance, such as `triton-a-0` or `envoy`.
        slot: The slot of a Triton server; empty for Envoy.
        fetch: Returns its text; raises `OSError` or `GatewayUnavailableError`.
    """

    name: str
    slot: str
    fetch: Callable[[], str]


def metrics_pages(home: Home) -> tuple[MetricsPage, ...]:
    """Return the pages of everything that is ready now: each Triton server, and Envoy."""
    observed = read_observed(home)
    if observed is None:
        return ()
    pages = [
        MetricsPage(name=name, slot=one.slot, fetch=_triton(one.ports["metrics"]))
        for name, one in observed.instances.items()
        # A server that somebody else runs has no such port that is known here.
        if one.slot is not None and one.phase is Phase.READY and "metrics" in one.ports
    ]
    admin = EnvoyAdmin(home.envoy, timeout_s=_TIMEOUT_S)
    pages.append(MetricsPage(name="envoy", slot="", fetch=lambda: admin.get(_ENVOY)))
    return tuple(pages)


def _triton(port: int) -> Callable[[], str]:
    def fetch() -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_S
        ) as answer:
            return str(answer.read().decode())

    return fetch
