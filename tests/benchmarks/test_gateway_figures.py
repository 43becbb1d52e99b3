"""The gateway benchmark's arithmetic: medians, ratios, goals, and runs that say nothing."""

from __future__ import annotations

import dataclasses
import json

import pytest
from side_by_side.figures import GOALS, LIMITS, QUIET_RPS, Goal, Run, compared, table, verdicts
from side_by_side.http_load import read_run


def _run(rps: float, p50_ms: float = 1.0, failed: int = 0) -> Run:
    """A run of ten seconds."""
    return Run(
        requests=round(rps * 10),
        seconds=10.0,
        failed=failed,
        mean_ms=p50_ms,
        p50_ms=p50_ms,
        p95_ms=2 * p50_ms,
        p99_ms=3 * p50_ms,
        machine_cpu=0.9,
        server_cores=1.0,
    )


def _figures(direct: tuple[float, ...] = (9000, 12_000, 10_000)) -> dict[str, object]:
    one = {
        "direct": [_run(1000, 0.9), _run(1000, 1.0), _run(1000, 1.1)],
        "gateway": [_run(800, 1.2), _run(800, 1.4), _run(800, 9.0)],
        "slow": [_run(100, 10)],
        "slower": [_run(50, 20)],
    }
    many = {
        "direct": [_run(rps) for rps in direct],
        "gateway": [_run(5000), _run(1000), _run(6000, failed=3)],
        "slow": [_run(1000)],
        "slower": [_run(500)],
    }
    both = {name: one[name] for name in ("direct", "gateway")}
    return compared(one, many, both, both, envoy_cpu_us=[300.0, 200.0, 250.0])


def test_figures_are_medians_and_their_ratios() -> None:
    """One bad round of three changes nothing; ratios are those of the medians that are printed."""
    figures = _figures()
    assert figures["direct_rps"] == 10_000
    assert figures["gateway_rps"] == 5000
    assert figures["ratio"] == 0.5
    assert figures["added_p50_ms"] == pytest.approx(0.4)
    assert figures["envoy_cpu_us"] == 250
    assert figures["times_best_peer"] == 5
    assert figures["failed"] == 3


def test_a_busy_machine_makes_a_run_void() -> None:
    """Below 6,000 direct requests a second the run says so; at that rate it counts."""
    assert not _figures(direct=(QUIET_RPS,))["void"]
    busy = _figures(direct=(QUIET_RPS - 1,))
    assert busy["void"]
    assert "VOID" in table(busy)


def test_goals_that_were_not_measured_have_no_verdict() -> None:
    """Without Python servers there is no factor over them, and no word on that goal."""
    one = {"direct": [_run(1000)], "gateway": [_run(800)]}
    figures = compared(one, one, one, one, envoy_cpu_us=[261.0])
    found = verdicts(figures)
    assert "times_best_peer" not in found
    assert "not measured" in table(figures)
    assert found["envoy_cpu_us"] is False
    assert found["ratio"] is True


@pytest.mark.parametrize("goal", [*GOALS, *LIMITS], ids=lambda goal: goal.figure)
def test_a_goal_is_met_on_its_own_side_only(goal: Goal) -> None:
    """A value at the limit meets a goal, one just beyond does not, and the text says which."""
    beyond = goal.limit * (1.001 if goal.at_most else 0.999)
    assert goal.met_by(goal.limit)
    assert not goal.met_by(beyond)
    assert goal.as_text(goal.limit).endswith("met")
    assert goal.as_text(beyond).endswith("MISSED")
    assert goal.met_by(goal.aim)


def test_every_figure_is_json() -> None:
    """The object can be printed as one line and read again."""
    figures = _figures()
    assert json.loads(json.dumps(figures)) == figures


def test_the_last_line_of_the_load_generator_is_the_run() -> None:
    """What wrk prints before is skipped."""
    run = _run(123)
    given = {k: v for k, v in dataclasses.asdict(run).items() if not k.endswith(("_cpu", "_cores"))}
    found = read_run(f"Running 2s test\n  1 threads\n{json.dumps(given)}\n")
    assert found == dataclasses.replace(run, machine_cpu=0.0, server_cores=0.0)
