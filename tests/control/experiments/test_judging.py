"""What follows for an experiment: a world in, a ruling out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conch.ab import Counts, Evidence, MetricEvidence, ReasonCode, StageEvidence, replays
from conch.control.experiments import (
    Comparison,
    ExperimentWorld,
    experiment_plan,
    judge,
    rule_for,
)
from conch.control.experiments.judging import COMPARING, NO_EVIDENCE, PARTLY_DECIDED, Move
from conch.control.plans import PlanBook, PlanInvalidError
from conch.control.state import Experiment, ExperimentStatus, Finding

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
BEGAN = NOW - timedelta(hours=1)
GOALS = {"goals": {"buys": {"source": "events:buys", "direction": "higher-is-better"}}}
PLAN = experiment_plan(
    PlanBook(), GOALS | {"step_minimum_s": 0, "step_minimum_units": 0}, changes=None, tags={}
)
UNITS = 50_000
EXPERIMENT = Experiment(
    id="e",
    deployment_id="d",
    name="two treatments",
    status=ExperimentStatus.RUNNING,
    control_build_id="b1",
    shares={"b1": 3334, "b2": 3333, "b3": 3333},
    salt="s",
    plan=PLAN.as_dict(),
    plan_digest=PLAN.digest,
    created_by="me",
    created_at=BEGAN,
    started_at=BEGAN,
)


def comparison(number: int, *, buys: float, errors: float = 0.01, **changes: Any) -> Comparison:
    """A treatment beside a control with 10 % buys and 1 % errors."""
    rule = rule_for(PLAN, share=0.5, treatments=2)
    rates = {"buys": (0.10, buys), "error-rate": (0.01, errors)}
    stage = StageEvidence(
        step=0,
        share=0.5,
        started_s=BEGAN.timestamp(),
        control_units=UNITS,
        candidate_units=changes.pop("units", UNITS),
        metrics=tuple(
            MetricEvidence(
                metric=metric.name,
                control=Counts(units=UNITS, events=round(UNITS * rates[metric.name][0])),
                candidate=Counts(units=UNITS, events=round(UNITS * rates[metric.name][1])),
            )
            for metric in rule.metrics
            if metric.name in rates
        ),
    )
    return Comparison(
        build_id=f"b{number}",
        called=f"Version {number}",
        rule=rule,
        evidence=Evidence(stages=(stage,), cut_s=NOW.timestamp()),
        **changes,
    )


def world(*comparisons: Comparison, now: datetime = NOW) -> ExperimentWorld:
    return ExperimentWorld(
        now=now, experiment=EXPERIMENT, comparisons=comparisons, record_every_s=60
    )


BETTER, SAME = comparison(2, buys=0.13), comparison(3, buys=0.10)
HARMED = comparison(3, buys=0.13, errors=0.03)
UNEVEN = comparison(3, buys=0.10, units=UNITS + 5_000)
BLIND = replace(SAME, evidence=None, missing="the log is away.")


@pytest.mark.parametrize(
    ("comparisons", "move", "code"),
    [
        pytest.param((BETTER, SAME), Move.STAY, PARTLY_DECIDED, id="one decided, one open"),
        pytest.param((comparison(2, buys=0.1), SAME), Move.STAY, COMPARING, id="both open"),
        pytest.param(
            (BETTER, comparison(3, buys=0.14)), Move.END, ReasonCode.GOAL_MET, id="both decided"
        ),
        pytest.param((BETTER, HARMED), Move.END, ReasonCode.HARM_PROVEN, id="one harms"),
        pytest.param((BETTER, BLIND), Move.HOLD, NO_EVIDENCE, id="one cannot be told"),
        pytest.param((BETTER, UNEVEN), Move.HOLD, ReasonCode.UNHEALTHY, id="sample ratio"),
    ],
)
def test_a_ruling_follows_from_every_comparison(
    comparisons: tuple[Comparison, ...], move: Move, code: str
) -> None:
    """Harm comes before everything, and only what can be believed concludes."""
    ruling = judge(world(*comparisons))
    assert (ruling.move, ruling.code) == (move, code)
    assert all(replays(record) for record in ruling.records.values())
    told = {one.called for one in comparisons if one.called in ruling.message}
    if move is Move.END and code == ReasonCode.HARM_PROVEN:
        assert told == {"Version 3"}


def test_harm_ends_it_though_another_arm_cannot_be_told() -> None:
    """What is proven is proven."""
    blind = replace(BETTER, evidence=None, missing="the log is away.")
    assert judge(world(blind, HARMED)).code == ReasonCode.HARM_PROVEN


def test_the_deadline_ends_it_and_says_what_is_open() -> None:
    """Inconclusive is an answer."""
    late = NOW + timedelta(days=2)
    fresh = [
        replace(one, evidence=replace(one.evidence, cut_s=late.timestamp()))
        for one in (BETTER, SAME)
        if one.evidence is not None
    ]
    ruling = judge(world(*fresh, now=late))
    assert (ruling.move, ruling.code) == (Move.END, ReasonCode.DEADLINE)
    assert "Version 3" in ruling.message


def test_looks_that_change_nothing_are_thinned() -> None:
    """One record a minute; a new code is written at once."""

    def last(code: str, age_s: float) -> Finding:
        return Finding(
            id="f",
            experiment_id="e",
            number=3,
            action="stay",
            code=code,
            message="",
            created_at=NOW - timedelta(seconds=age_s),
        )

    assert judge(world(BETTER, SAME)).due
    assert not judge(replace(world(BETTER, SAME), last=last(PARTLY_DECIDED, 5))).due
    assert judge(replace(world(BETTER, SAME), last=last(PARTLY_DECIDED, 61))).due
    assert judge(replace(world(BETTER, SAME), last=last(COMPARING, 5))).due
    assert judge(replace(world(BETTER, SAME), last=last(NO_EVIDENCE, 5))).due
    assert judge(replace(world(BETTER, HARMED), last=last("harm-proven", 5))).due


def test_the_error_level_is_shared_by_the_treatments() -> None:
    """Two treatments at 5 % have 2.5 % each."""
    assert rule_for(PLAN, share=0.5, treatments=2).alpha == PLAN.rule.alpha / 2
    assert rule_for(PLAN, share=0.25, treatments=1).share_of(0) == 0.25


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "needs a metric that says which arm is better"),
        (GOALS | {"steps": [50]}, "steps: an experiment has shares that do not move"),
        (GOALS | {"shadow": True}, "shadow"),
        (GOALS | {"typo": 1}, "typo"),
        ({"goals": {"buys": {"direction": "higher-is-better"}}}, "source"),
    ],
    ids=["no goal", "steps", "shadow", "typo", "no source"],
)
def test_a_plan_that_is_none_of_an_experiment_is_refused(body: dict[str, Any], words: str) -> None:
    """The message names the field."""
    with pytest.raises(PlanInvalidError, match=words):
        experiment_plan(PlanBook(), body, changes=None, tags={})
