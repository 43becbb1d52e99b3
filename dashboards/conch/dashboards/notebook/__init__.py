"""Releases and experiments in a notebook: read, put into tidy frames, plot, decide again.

    from conch.dashboards import notebook

    story = notebook.read_api("http://127.0.0.1:8090", key=key, release="...")
    notebook.results(story)                       # one row for each look and metric
    notebook.plot_interval(story, "error-rate")   # the interval at every look

A `Story` is a list of `conch.ab.DecisionRecord`: what every look saw and what was decided on it. It
comes from the control API, from a file, or is made here from the compacted event log by the same
`decide`. Needs the extra `notebook`: pip install 'conch[notebook]'.
"""

from .frames import arms, checks, looks, results
from .plots import plot_arms, plot_interval, plot_power, plot_sample_ratio, plot_stages
from .replaying import (
    Arms,
    UnitValue,
    from_exposures,
    from_metric_events,
    replay_events,
)
from .stories import NotebookError, Story, read_api, read_experiment, read_file, write_file

__all__ = [
    "Arms",
    "NotebookError",
    "Story",
    "UnitValue",
    "arms",
    "checks",
    "from_exposures",
    "from_metric_events",
    "looks",
    "plot_arms",
    "plot_interval",
    "plot_power",
    "plot_sample_ratio",
    "plot_stages",
    "read_api",
    "read_experiment",
    "read_file",
    "replay_events",
    "results",
    "write_file",
]
