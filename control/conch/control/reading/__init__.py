"""Reading: what the API, the command line and the console show, without changing anything."""

from .differing import Differing
from .experiments import (
    ExperimentArmView,
    ExperimentView,
    FindingView,
    ReadingExperiments,
)
from .filters import MetricFilter, TagFilter, read_metric_filter, read_tag_filter
from .overview import NotReadyError, Overview
from .queries import MOST, Reading, find_model, find_version
from .report_pages import REPORT_NAME
from .views import (
    ArmView,
    BuildView,
    CountsView,
    DecisionView,
    DeploymentView,
    JobView,
    ModelView,
    PlatformView,
    ReleaseView,
    StageView,
    VersionView,
    View,
)

__all__ = [
    "MOST",
    "REPORT_NAME",
    "ArmView",
    "BuildView",
    "CountsView",
    "DecisionView",
    "DeploymentView",
    "Differing",
    "ExperimentArmView",
    "ExperimentView",
    "FindingView",
    "JobView",
    "MetricFilter",
    "ModelView",
    "NotReadyError",
    "Overview",
    "PlatformView",
    "Reading",
    "ReadingExperiments",
    "ReleaseView",
    "StageView",
    "TagFilter",
    "VersionView",
    "View",
    "find_model",
    "find_version",
    "read_metric_filter",
    "read_tag_filter",
]
