"""Counters over a window, read from a real Prometheus and by conch's own scraper: one contract.

Both read the same page of a small HTTP server. Every kind of trouble gives its reason and no
number.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conch.control.metrics import (
    Page,
    PrometheusSource,
    Scraper,
    Selector,
    SeriesSource,
    Trouble,
    Window,
    increase,
    quantile,
)

EVERY_S = 0.4
_NAMES = (f"requests_{number}_total" for number in itertools.count())


@dataclass
class Target:
    """A page of metrics that the test writes; `down` makes it answer 500."""

    lines: dict[str, str] = field(default_factory=dict)
    down: bool = False
    port: int = 0

    def text(self) -> str:
        """Return the page."""
        return "".join(f"{series} {value}\n" for series, value in self.lines.items())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/metrics"


@dataclass
class World:
    """A source, and how to let it look at the target again.

    Attributes:
        look: Lets so many more samples be taken, or attempts be made.
        now: The source's clock.
    """

    source: SeriesSource
    target: Target
    look: Callable[[int], None]
    now: Callable[[], float]

    def window(self, looks: float) -> Window:
        """Return a window of so many intervals that ends now."""
        return Window(now_s=self.now(), length_s=looks * EVERY_S, every_s=EVERY_S)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """Serve a page over real HTTP."""
    page = Target()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError):  # Prometheus ends in the middle of a scrape
                self.send_response(500 if page.down else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(page.text().encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    page.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield page
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Prometheus that scrapes the page."""
    program = shutil.which("prometheus")
    assert program is not None, "the Debian package `prometheus` is missing"
    home = tmp_path_factory.mktemp("prometheus")
    port = _free_port()
    (home / "prometheus.yml").write_text(
        json.dumps(  # YAML takes JSON
            {
                "global": {"scrape_interval": f"{EVERY_S * 1000:.0f}ms", "scrape_timeout": "300ms"},
                "scrape_configs": [
                    {
                        "job_name": "conch",
                        "static_configs": [{"targets": [f"127.0.0.1:{target.port}"]}],
                    }
                ],
            }
        )
    )
    process = subprocess.Popen(
        [
            program,
            f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/-/ready"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["scraper", pytest.param("prometheus", marks=pytest.mark.real)])
def world(request: pytest.FixtureRequest, target: Target) -> World:
    """Return each source with its page, which is up and empty."""
    target.lines, target.down = {}, False
    if request.param == "scraper":
        return _scraper_world(target)
    return _prometheus_world(target, request.getfixturevalue("prometheus"))


@pytest.fixture
def counter() -> str:
    """Return a counter's name that no other test uses."""
    return next(_NAMES)


def test_growth_is_counted_over_series_and_labels(world: World, counter: str) -> None:
    """Two servers' counters add up, and a label leaves out what it does not match."""
    for value in range(0, 60, 10):
        world.target.lines = {
            f'{counter}{{arm="a",server="1"}}': str(100 + value),
            f'{counter}{{arm="a",server="2"}}': str(2 * value),
            f'{counter}{{arm="b",server="1"}}': str(7 * value),
        }
        world.look(1)
    window = world.window(5)
    for labels, factor in (({"arm": "a"}, 3), ({"arm": "b"}, 7), ({}, 10)):
        found = increase(world.source, Selector(name=counter, labels=labels), window)
        assert found.trouble is None, found.because
        assert found.value is not None
        assert found.value in [factor * grown for grown in range(10, 60, 10)]
        assert 0 < found.covered_s <= window.length_s + EVERY_S


def test_a_counter_is_found_under_the_name_of_its_page(world: World) -> None:
    """Triton's counters have no `_total`; declared as counters they keep their name."""
    name = next(_NAMES).removesuffix("_total")
    for value in (1, 2, 3, 4):
        world.target.lines = {f"# TYPE {name}": "counter", name: str(value)}
        world.look(1)
    found = increase(world.source, Selector(name=name), world.window(3))
    assert found.value is not None, found.because
    assert found.value >= 1


def test_a_series_that_never_was_is_absent(world: World, counter: str) -> None:
    """No series is no number, and not zero."""
    world.target.lines = {"something_else": "1"}
    world.look(3)
    found = increase(world.source, Selector(name=counter), world.window(3))
    assert (found.value, found.trouble) == (None, Trouble.ABSENT)
    assert counter in found.because


def test_a_counter_that_falls_began_anew(world: World, counter: str) -> None:
    """A restart within the window is told; Prometheus's own `rate` would have bridged it."""
    for value in (500, 510, 3, 5):
        world.target.lines = {counter: str(value)}
        world.look(2)
    found = increase(world.source, Selector(name=counter), world.window(7))
    assert (found.value, found.trouble) == (None, Trouble.RESET)
    assert "fell from 510 to 3" in found.because


def test_a_page_that_fails_for_a_while_leaves_a_gap(world: World, counter: str) -> None:
    """Missing samples in the middle are a gap, at the end they are stale, before both a number."""
    world.target.lines = {counter: "1"}
    world.look(6)
    assert increase(world.source, Selector(name=counter), world.window(4)).value == 0.0
    world.target.down = True
    world.look(5)
    stale = increase(world.source, Selector(name=counter), world.window(10))
    assert (stale.value, stale.trouble) == (None, Trouble.STALE)
    world.target.down = False
    world.look(3)
    gap = increase(world.source, Selector(name=counter), world.window(12))
    assert (gap.value, gap.trouble) == (None, Trouble.GAP)


def test_a_window_that_begins_before_the_series_is_a_gap(world: World, counter: str) -> None:
    """Counting that began within the window does not stand for the whole of it."""
    world.target.lines = {counter: "5"}
    world.look(3)
    found = increase(world.source, Selector(name=counter), world.window(60))
    assert (found.value, found.trouble) == (None, Trouble.GAP)
    assert "of the window have no sample" in found.because


@pytest.mark.parametrize("off_s", [-3_600.0, 3_600.0], ids=["behind", "ahead"])
def test_clocks_that_disagree_give_no_number(world: World, counter: str, off_s: float) -> None:
    """An hour between this clock and the samples': told, or the series is stale; no number."""
    world.target.lines = {counter: "5"}
    world.look(4)
    window = world.window(3)
    found = increase(
        world.source, Selector(name=counter), replace(window, now_s=window.now_s + off_s)
    )
    assert found.value is None
    expected = {Trouble.SKEW} if off_s < 0 else {Trouble.SKEW, Trouble.ABSENT, Trouble.STALE}
    assert found.trouble in expected


def test_a_quantile_is_read_off_the_buckets(world: World, counter: str) -> None:
    """The growth of the buckets, linear within one; no observation is no quantile."""
    ends = {"10": 50, "100": 90, "+Inf": 100}
    for times in range(5):
        world.target.lines = {
            f'{counter}_bucket{{le="{end}"}}': str(times * count) for end, count in ends.items()
        }
        world.look(1)
    selector = Selector(name=counter)
    assert quantile(world.source, selector, 0.5, world.window(4)).value == pytest.approx(10.0)
    assert quantile(world.source, selector, 0.7, world.window(4)).value == pytest.approx(55.0)
    assert quantile(world.source, selector, 0.99, world.window(4)).value == pytest.approx(100.0)
    world.look(7)
    still = quantile(world.source, selector, 0.5, world.window(5))
    assert (still.value, still.trouble) == (None, Trouble.EMPTY)


def test_a_prometheus_that_does_not_answer_is_unavailable() -> None:
    """A refused connection is a reason, too."""
    source = PrometheusSource(f"http://127.0.0.1:{_free_port()}", timeout_s=1.0)
    found = increase(source, Selector(name="up"), Window(now_s=time.time(), length_s=60, every_s=5))
    assert (found.value, found.trouble) == (None, Trouble.UNAVAILABLE)


def test_a_scraper_that_has_not_looked_yet_is_unavailable() -> None:
    """Before the first look nothing is known, which is not the same as absent."""
    scraper = Scraper(list, now=lambda: 100.0)
    window = Window(now_s=100.0, length_s=60, every_s=5)
    assert increase(scraper, Selector(name="up"), window).trouble is Trouble.UNAVAILABLE


def test_a_scraper_keeps_a_short_window_and_what_it_was_told_to() -> None:
    """Old samples and metrics of other prefixes are not kept."""
    clock = iter(range(1_000))
    at = [0.0]

    def now() -> float:
        return at[0]

    page = Page(
        name="page",
        fetch=lambda: f"kept {next(clock)}\nother 1\n",
        labels={"slot": "a"},
        prefixes=("kept",),
    )
    scraper = Scraper(lambda: [page], now=now, keep_s=50.0)
    for at[0] in range(0, 200, 5):
        scraper.scrape()
    window = Window(now_s=195.0, length_s=195.0, every_s=5.0)
    (track,) = scraper.tracks(Selector(name="kept", labels={"slot": "a"}), window)
    assert track.samples[0].at_s == 145.0
    assert scraper.tracks(Selector(name="other"), window) == ()


def _scraper_world(target: Target) -> World:
    clock = [1_700_000_000.0]

    def fetch() -> str:
        with urllib.request.urlopen(target.url, timeout=5) as answer:
            return str(answer.read().decode())

    scraper = Scraper(lambda: [Page(name="page", fetch=fetch)], now=lambda: clock[0])

    def look(times: int) -> None:
        for _ in range(times):
            clock[0] += EVERY_S
            scraper.scrape()

    return World(source=scraper, target=target, look=look, now=lambda: clock[0])


def _prometheus_world(target: Target, url: str) -> World:
    source = PrometheusSource(url)

    def attempts() -> int:
        answer = urllib.request.urlopen(
            f"{url}/api/v1/query?query=count_over_time(up%5B10m%5D)", timeout=10
        )
        found = json.load(answer)["data"]["result"]
        return int(float(found[0]["value"][1])) if found else 0

    def look(times: int) -> None:
        wanted = attempts() + times + 1  # the one under way may have read the page before
        _until(lambda: attempts() >= wanted)

    return World(source=source, target=target, look=look, now=time.time)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _until(true: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
