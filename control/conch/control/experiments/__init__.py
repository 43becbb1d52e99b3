"""Experiments: builds of one model compared on live traffic, none of which is released by it.

A release asks whether a candidate may replace the live version; an experiment asks which of several
arms is better by a goal, such as outcomes that arrive later as events. Its shares do not move. The
statistics are those of releases (`conch.ab.decide`), once for each treatment against the control.
"""

from .commands import (
    ArmAsked,
    ArmsInvalidError,
    Experiments,
    NoExperimentError,
    SlotsTakenError,
)
from .engine import ExperimentEngine
from .explaining import explain_experiment
from .judging import Comparison, ExperimentWorld, Ruling, judge
from .planning import experiment_plan, rule_for

__all__ = [
    "ArmAsked",
    "ArmsInvalidError",
    "Comparison",
    "ExperimentEngine",
    "ExperimentWorld",
    "Experiments",
    "NoExperimentError",
    "Ruling",
    "SlotsTakenError",
    "experiment_plan",
    "explain_experiment",
    "judge",
    "rule_for",
]
