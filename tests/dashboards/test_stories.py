"""Stories: read from the API and from files, as frames, decided again from Parquet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_platform import MemoryPlatform

from conch import ab
from conch.dashboards import notebook
from conch.events import Compactor, Event, EventLog, Exposure, Metric, hash_unit

ERRORS = ab.Metric(
    name="errors",
    kind=ab.Kind.GUARDRAIL,
    measure=ab.Measure.EVENT_RATE,
    direction=ab.Direction.LOWER,
    unit="share of users",
    counted_per="user",
    source="envoy:errors",
    margin=0.25,
)
SALES = replace(
    ERRORS, name="sales", kind=ab.Kind.GOAL, direction=ab.Direction.HIGHER, window_s=50.0
)
PLAN = ab.ReleasePlan(
    steps=(ab.Step(weight=5_000),),
    metrics=(ERRORS, SALES),
    assignment_unit="user",
    goal_rule=ab.GoalRule.NOT_WORSE,
)
VALUES = {
    "errors": notebook.from_exposures("max(CASE WHEN status >= 500 THEN 1 ELSE 0 END)"),
    "sales": notebook.from_metric_events("sale"),
}


def exposure(number: int, user: str, version: int, *, status: int = 200) -> Exposure:
    """Return a request, one a second."""
    return Exposure(
        event_id=f"r{number}",
        occurred_at=1_000.0 + number,
        received_at=1_000.0 + number,
        model="m",
        slot="ab"[version - 1],
        ordinal=version,
        unit_hash=hash_unit(user),
        release="rel",
        status=status,
    )


def sale(number: int, user: str, *, after_s: float = 10.0) -> Metric:
    """Return a purchase some time after the request of that number."""
    at = 1_000.0 + number + after_s
    return Metric(
        event_id=f"s{number}",
        occurred_at=at,
        received_at=at,
        name="sale",
        value=1.0,
        unit_hash=hash_unit(user),
    )


def compacted(events: list[Event], folder: Path) -> list[Path]:
    """Put events through a real log into Parquet."""
    with EventLog(folder / "log") as log:
        log.append(events)
        log.seal()
        Compactor(log, folder / "parquet").run()
    return sorted((folder / "parquet").glob("*.parquet"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> notebook.Story:
    """Two hundred users, every tenth request failed, every fifth user bought."""
    events: list[Event] = []
    for number in range(200):
        version = 1 + number % 2
        status = 500 if number % 20 < 2 else 200
        events.append(exposure(number, f"u{number}", version, status=status))
        if number % 10 in (0, 1):
            events.append(sale(number, f"u{number}", after_s=60.0 if number % 20 > 9 else 10.0))
    files = compacted(events, tmp_path_factory.mktemp("story"))
    return notebook.replay_events(
        files,
        plan=PLAN,
        release="rel",
        arms=notebook.Arms(control=1, candidate=2),
        values=VALUES,
        looks=4,
    )


def test_evidence_is_the_brute_force_count(story: notebook.Story) -> None:
    """At the last look: units, errors, and of the closed windows the sales within them."""
    stage = story.last.evidence.latest
    assert (stage.control_units, stage.candidate_units) == (100, 100)
    errors, sales = stage.of("errors"), stage.of("sales")
    assert errors is not None
    assert sales is not None
    assert errors.candidate == ab.Counts(units=100, events=10)
    closed = [n for n in range(200) if n % 2 and 1_000 + n + 50 <= story.last.now_s]
    within = [n for n in closed if n % 10 == 1 and n % 20 < 10]
    assert sales.candidate == ab.Counts(units=len(closed), events=len(within))
    assert sales.candidate_pending == 100 - len(closed)


def test_looks_know_nothing_of_what_came_later(story: notebook.Story) -> None:
    """Units grow look by look, and each look was cut at its own time."""
    looks = notebook.looks(story)
    units = (looks["control_units"] + looks["candidate_units"]).tolist()
    assert units == sorted(units)
    assert units[0] < units[-1] == 200
    assert story.replays()


def test_frames_have_a_row_for_each_thing(story: notebook.Story) -> None:
    """Looks, results, arms and checks are tidy."""
    assert len(notebook.results(story)) == 4 * 2
    assert len(notebook.checks(story)) == 4 * 5
    arms = notebook.arms(story)
    assert set(arms["arm"]) == {"control", "candidate"}
    rate = arms[(arms["metric"] == "errors") & (arms["arm"] == "candidate")]["value"].item()
    assert rate == pytest.approx(0.1)


def test_a_unit_that_met_both_arms_is_counted_as_such(tmp_path: Path) -> None:
    """It is in no metric, and the health check sees it."""
    events: list[Event] = [exposure(n, f"u{n}", 1 + n % 2) for n in range(50)]
    events += [exposure(50, "u0", 2), exposure(51, "u1", 1)]
    found = notebook.replay_events(
        compacted(events, tmp_path),
        plan=replace(PLAN, metrics=(ERRORS,), goal_rule=ab.GoalRule.NONE),
        release="rel",
        arms=notebook.Arms(control=1, candidate=2),
        values=VALUES,
        looks=1,
    )
    evidence = found.last.evidence
    assert evidence.exposed_to_both == 2
    item = evidence.latest.of("errors")
    assert item is not None
    assert item.control.n + item.candidate.n == 48


def test_stories_survive_a_file(story: notebook.Story, tmp_path: Path) -> None:
    """Written and read again a story is equal; what is no story is refused."""
    notebook.write_file(story, tmp_path / "rel.jsonl")
    assert notebook.read_file(tmp_path / "rel.jsonl") == story
    (tmp_path / "bad.jsonl").write_text("{}")
    with pytest.raises(ab.EvidenceError):
        notebook.read_file(tmp_path / "bad.jsonl")
    with pytest.raises(notebook.NotebookError):
        notebook.read_file(tmp_path / "missing.jsonl")
    with pytest.raises(notebook.NotebookError):
        notebook.Story(name="empty", records=())


@pytest.fixture
def api(story: notebook.Story) -> Iterator[str]:
    """An HTTP server that answers as the control API does: newest first, words between looks."""
    answer: list[dict[str, Any]] = [{"record": None, "action": "pause"}]
    answer += [{"record": ab.as_json(record)} for record in reversed(story.records)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["authorization"] == "Bearer key"
            known = self.path.startswith("/v1/releases/r1/decisions?records=true")
            self.send_response(401 if not allowed else 200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_stories_are_read_from_the_api(api: str, story: notebook.Story) -> None:
    """Looks come in order of time; a refusal and an absent server are told."""
    found = notebook.read_api(api, key="key", release="r1")
    assert found.records == story.records
    for key, release in (("wrong", "r1"), ("key", "r2")):
        with pytest.raises(notebook.NotebookError):
            notebook.read_api(api, key=key, release=release)


def test_an_experiment_is_a_story_for_each_treatment(
    story: notebook.Story, memory_platform: MemoryPlatform
) -> None:
    """From the real API: what the engine recorded of an arm, in order of time."""
    client = memory_platform.client
    memory_platform.live("told", factor=2.0)
    arms = [{"version": memory_platform.verified("told", factor=3.0)}]
    plan = {"goals": {"buys": {"source": "events:buys"}}, "record_every_s": 0.1}
    found = client.start_experiment("told", arms, plan=plan)
    client.wait_experiment(found["id"], status="running", timeout_s=60)
    while not client.experiment_results(found["id"]):
        time.sleep(0.05)
    client.stop_experiment("told")
    given = {"key": memory_platform.key, "experiment": found["id"]}
    stories = notebook.read_experiment(memory_platform.url, **given)
    (name,) = stories
    assert name.startswith("version 2")
    assert stories[name].replays()
    assert set(notebook.results(stories[name])["metric"]) == {"buys", "error-rate"}
    with pytest.raises(notebook.NotebookError):
        notebook.read_experiment(memory_platform.url, key=memory_platform.key, experiment="none")


def test_every_plot_draws(story: notebook.Story) -> None:
    """Each plot has its title and something drawn; an unknown metric is an error."""
    plots = [
        notebook.plot_interval(story, "errors"),
        notebook.plot_arms(story, "errors"),
        notebook.plot_sample_ratio(story),
        notebook.plot_stages(story),
        notebook.plot_power(rate=0.01, margin=0.25, shares=(0.05,), ratios=(2.0, 3.0)),
    ]
    for axes in plots:
        assert axes.get_title()
        assert axes.lines or axes.patches
        assert all(np.isfinite(limit) for limit in (*axes.get_xlim(), *axes.get_ylim()))
    with pytest.raises(notebook.NotebookError):
        notebook.plot_interval(story, "nobody")


def test_what_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    """A metric without a value, and a release nobody was exposed to."""
    files = compacted([exposure(1, "u", 1)], tmp_path)
    arms = notebook.Arms(control=1, candidate=2)
    with pytest.raises(notebook.NotebookError, match="sales"):
        notebook.replay_events(
            files, plan=PLAN, release="rel", arms=arms, values={"errors": VALUES["errors"]}
        )
    with pytest.raises(notebook.NotebookError, match="no exposure"):
        notebook.replay_events(files, plan=PLAN, release="other", arms=arms, values=VALUES)
