"""Release plans: presets, files, overrides; what is wrong is told by the name of its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conch.ab import Direction, GoalRule, Measure
from conch.control.plans import (
    MANUAL,
    Gate,
    PlanBook,
    PlanInvalidError,
    Road,
    overrides,
    plan_from,
    plan_of,
    presets,
    read_plan_file,
)

PRESETS = presets(slo_ms=50.0)
HIGHER = Direction.HIGHER.value


@pytest.mark.parametrize(
    ("name", "road", "weights", "guard"),
    [
        ("canary", Road.STEPS, [100, 500, 2500, 5000], 9500),
        ("linear", Road.STEPS, [1000 * n for n in range(1, 10)], 9500),
        ("blue-green", Road.FLIP, [9500], 9500),
        ("hot", Road.FLIP, [9500], 9500),
    ],
)
def test_the_presets_are_what_they_are_called(
    name: str, road: Road, weights: list[int], guard: int
) -> None:
    """Each goes its road, guards errors and latency, and survives JSON to the last bit."""
    plan = plan_from({"plan": name}, presets=PRESETS)
    assert (plan.name, plan.road) == (name, road)
    assert [step.weight for step in plan.rule.steps] == weights
    assert plan.guard.steps[plan.guard_step].weight == guard
    assert {metric.source for metric in plan.rule.metrics} == {"envoy:errors", "envoy:slow:50ms"}
    again = plan_of(json.loads(json.dumps(plan.as_dict())))
    assert again == plan
    assert again.digest == plan.digest
    assert plan.patch_only == (name == "hot")


def test_without_an_objective_latency_is_not_guarded() -> None:
    """What is slow has to be said by somebody: settings, the model's tag, or the plan."""
    plan = plan_from({"plan": "canary"}, presets=presets(slo_ms=None))
    assert [metric.name for metric in plan.rule.metrics] == ["error-rate"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"plan": "canari"}, "plan: there is no preset 'canari'"),
        ({"plan": "canary", "stps": [1]}, "stps: Extra inputs"),
        ({"plan": "canary", "bake_s": -1}, "bake_s: Input should be greater"),
        ({"plan": "canary", "steps": [50, 5]}, "the steps' weights [5000, 500] do not rise"),
        ({"plan": "canary", "steps": [1.234]}, "steps.0.weight: .*two decimals"),
        ({"plan": "canary", "steps": [100]}, "steps: a plan that does not flip"),
        ({"plan": "canary", "steps": [5, 100, 50]}, "steps: 100 can only be the last"),
        ({"plan": "hot", "steps": [5]}, "steps: a plan that flips has no steps"),
        ({"plan": "hot", "holdback": 0}, "steps: `holdback` is 0"),
        ({"plan": "canary", "holdback": 60}, "`holdback` leaves 40 %"),
        ({"plan": "canary", "guardrails": {"x": {}}}, "guardrails.x: `source` is missing"),
        (
            {"plan": "canary", "guardrails": {"error-rate": {"source": "nagios"}}},
            "guardrails.error-rate: 'nagios' is no source",
        ),
        (
            {"plan": "canary", "guardrails": {"error-rate": {"margin": 0.1, "harm_beyond": 0.2}}},
            "guardrails.error-rate: metric 'error-rate' counts as harm beyond",
        ),
        ({"plan": "canary", "goal_rule": "better"}, "the goal rule is 'better'"),
        ({"plan": "canary", "approve": ["dinner"]}, "approve.0: Input should be"),
        (
            {"plan": "canary", "guardrails": {"x": {"source": "envoy:errors", "measure": "score"}}},
            "plan: metric 'x' .score of envoy:errors. has no meaning",
        ),
        (
            {"plan": "canary", "guardrails": {"x": {"source": "envoy:latency", "level": 0.9}}},
            "guardrails.x: metric 'x' is a event-rate with the level 0.9",
        ),
        ({"name": "bare", "steps": [5]}, "guardrails: Field required"),
    ],
)
def test_a_mistake_is_told_by_its_field(body: dict[str, Any], words: str) -> None:
    """The message begins with the path of what has to be changed."""
    with pytest.raises(PlanInvalidError, match=words.replace("[", r"\[").replace("?", r"\?")):
        plan_from(body, presets=PRESETS)


def test_a_file_stands_on_a_preset_and_may_leave_things_out(tmp_path: Path) -> None:
    """Keys are merged into the preset, lists replace, null takes a guardrail away."""
    text = """
    plan: canary
    name: careful
    steps: [0.5, {weight: 10, minimum_units: 7}, 100]
    guardrails:
      slow-share: null
      wrong-label: {source: "events:wrong-label@1h", margin: 0.1}
    goals:
      sales: {source: "events:purchase", direction: higher-is-better}
    goal_rule: not-worse
    shadow: true
    approve: [promotion]
    """
    path = tmp_path / "careful.yaml"
    path.write_text(text)
    plan = plan_from(read_plan_file(path), presets=PRESETS)
    assert [(s.weight, s.minimum_units) for s in plan.rule.steps] == [(50, 100), (1000, 7)]
    assert [metric.name for metric in plan.rule.metrics] == ["error-rate", "wrong-label", "sales"]
    assert plan.rule.goal_rule is GoalRule.NOT_WORSE
    assert plan.shadow is not None
    assert plan.approvals == (Gate.PROMOTION,)
    path.with_suffix(".json").write_text(json.dumps(yaml.safe_load(text)))
    assert plan_from(read_plan_file(path.with_suffix(".json")), presets=PRESETS) == plan


def test_every_measure_that_is_counted_can_be_asked_for() -> None:
    """A quantile names its level; the window of a source is the metric's own."""
    guardrails = {
        "p95": {"source": "envoy:latency", "measure": "quantile", "level": 0.95},
        "rating": {"source": "events:rating@1h", "measure": "score", "direction": HIGHER},
    }
    plan = plan_from({"plan": "canary", "guardrails": guardrails}, presets=PRESETS)
    found = {metric.name: metric for metric in plan.rule.metrics}
    assert (found["p95"].measure, found["p95"].level) == (Measure.QUANTILE, 0.95)
    assert (found["rating"].measure, found["rating"].window_s) == (Measure.SCORE, 3600.0)
    assert plan_of(json.loads(json.dumps(plan.as_dict()))) == plan


def test_a_field_is_changed_on_the_command_line() -> None:
    """`--set` reaches every field; values are YAML, commas make lists."""
    plan = PlanBook(slo_ms=50).plan(
        "canary",
        changes=overrides(
            ["steps=2,20", "guardrails.error-rate.margin=0.5", "bake_s=60", "shadow=true"]
        ),
        tags={},
    )
    assert plan is not None
    assert [step.weight for step in plan.rule.steps] == [200, 2000]
    assert plan.rule.metrics[0].margin == 0.5
    assert plan.rule.bake_s == 60
    assert plan.shadow is not None
    with pytest.raises(PlanInvalidError, match="no assignment"):
        overrides(["steps"])


def test_a_shadow_gate_needs_captured_answers() -> None:
    """Without capture nothing could be compared, so such a plan is refused, not passed over."""
    book = PlanBook(usual="canary", shadows=False)
    with pytest.raises(PlanInvalidError, match="shadow: answers are not captured"):
        book.plan("canary", changes={"shadow": True}, tags={})
    assert book.by_itself(tags={}, same_graph=False) is not None


def test_a_plan_file_of_the_settings_is_refused_alike(tmp_path: Path) -> None:
    """What the settings name goes the same way as what a person asks for."""
    path = tmp_path / "careful.yaml"
    path.write_text("plan: canary\nshadow: true\n")
    with pytest.raises(PlanInvalidError, match="shadow: answers are not captured"):
        PlanBook(usual=str(path), shadows=False).by_itself(tags={}, same_graph=False)
    found = PlanBook(usual=str(path)).by_itself(tags={}, same_graph=False)
    assert found is not None
    assert found.plan is not None
    assert found.plan.shadow is not None


def test_the_model_the_settings_and_the_person_say_which_plan() -> None:
    """A person's word counts before the model's tag, and that before the settings."""
    book = PlanBook(usual="canary", patch="hot")
    tags = {"conch.release.plan": "linear", "conch.release.slo_ms": "20"}

    def named(found: Any) -> str:
        return "" if found is None or found.plan is None else str(found.plan.name)

    assert named(book.by_itself(tags={}, same_graph=False)) == "canary"
    assert named(book.by_itself(tags={}, same_graph=True)) == "hot"
    assert named(book.by_itself(tags=tags, same_graph=True)) == "linear"
    assert PlanBook().by_itself(tags={}, same_graph=True) is None
    manual = PlanBook(usual=MANUAL).by_itself(tags={}, same_graph=True)
    assert manual is not None
    assert manual.plan is None
    assert PlanBook().plan(None, tags={}) is None
    asked = book.plan("hot", tags=tags)
    assert asked is not None
    assert asked.rule.metrics[1].source == "envoy:slow:20ms"
    with pytest.raises(PlanInvalidError, match="slo_ms"):
        book.plan("hot", tags={"conch.release.slo_ms": "fast"})
    with pytest.raises(PlanInvalidError, match="by hand has no fields"):
        book.plan(MANUAL, changes={"bake_s": 1}, tags={})


def test_a_baseline_arm_needs_a_third_slot() -> None:
    """Without one the plan is refused; with one the candidate is compared at equal shares."""
    body = {"plan": "canary", "equal_baseline": True}
    with pytest.raises(PlanInvalidError, match=r"equal_baseline: .* third slot, and there are 2"):
        PlanBook().plan(body, tags={})
    plan = PlanBook(slots=3).plan(body, tags={})
    assert plan is not None
    shares = [plan.rule.share_of(step) for step in range(len(plan.rule.steps))]
    assert shares == [0.5] * len(shares)
    assert plan.guard.share_of(plan.guard_step) == 0.95
