"""What real Triton servers and a real Envoy count, read by conch's own scraper."""

from __future__ import annotations

import time

import pytest
from platform_fixtures import A, B, LocalPlatform, split_of, until

from conch import local
from conch.control.metrics import Page, Scraper, Trouble, Window, read_arm
from conch.core import Ordinal, TritonName

pytestmark = pytest.mark.real
MODEL = "counted"
REQUESTS = 40


def window_since(started_s: float) -> Window:
    """Return a window from a second before a moment to now, with few looks."""
    length_s = time.time() - started_s + 1.0
    return Window(now_s=time.time(), length_s=length_s, every_s=length_s)


def test_each_arm_is_counted_by_its_own_server(local_platform: LocalPlatform) -> None:
    """Requests to two versions show as two arms: counts, times, and no number for a third."""
    one, two = local_platform.build(MODEL, 1), local_platform.build(MODEL, 2)
    local_platform.target.load(one, A, timeout_s=60)
    local_platform.target.load(two, B, timeout_s=60)
    local_platform.target.set_routes([split_of(MODEL, ("b", two, 5000), ("a", one, 5000))])
    home = local.Home(local_platform.home)

    def pages() -> list[Page]:
        return [
            Page(
                name=page.name,
                fetch=page.fetch,
                labels={"slot": page.slot} if page.slot else {},
                prefixes=("nv_inference_", "envoy_cluster_upstream_rq_time"),
            )
            for page in local.metrics_pages(home)
        ]

    scraper = Scraper(pages, now=time.time)
    seen = {1: 0, 2: 0}

    def ask_one(number: int) -> None:
        answer = local_platform.infer(MODEL, unit=f"user-{number}")
        seen[answer.version] += 1

    ask_one(-1)
    scraper.scrape()
    before = dict(seen)
    started = time.time()
    for number in range(REQUESTS):
        ask_one(number)

    def counted() -> float:
        scraper.scrape()
        arm = read_arm(scraper, TritonName(MODEL), Ordinal(1), A, window_since(started))
        return (arm.requests_per_s.value or 0.0) * arm.requests_per_s.covered_s

    until(lambda: round(counted()) == seen[1] - before[1])
    window = window_since(started)
    for ordinal, slot in ((1, A), (2, B)):
        arm = read_arm(scraper, TritonName(MODEL), Ordinal(ordinal), slot, window)
        requests = (arm.requests_per_s.value or 0.0) * arm.requests_per_s.covered_s
        assert round(requests) == seen[ordinal] - before[ordinal]
        assert arm.failure_share.value == 0.0
        assert arm.mean_ms.value is not None
        assert arm.queue_ms.value is not None
        assert 0.0 < arm.queue_ms.value < arm.mean_ms.value < 1_000.0

    def latency() -> float:
        ask_one(number)  # Envoy's histograms show what it merged, every five seconds
        scraper.scrape()
        arm = read_arm(scraper, TritonName(MODEL), Ordinal(1), A, window_since(started))
        return arm.slot_p99_ms.value or 0.0

    until(lambda: latency() > 0.0)
    nobody = read_arm(scraper, TritonName(MODEL), Ordinal(3), A, window)
    assert nobody.requests_per_s.trouble is Trouble.ABSENT
