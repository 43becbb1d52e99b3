"""Reading: what the API, the command line and the console show, without changing anything."""

from .filters import MetricFilter, TagFilter, read_metric_filter, read_tag_filter
from .overview import NotReadyError, Overview
from .queries import MOST, REPORT_NAME, Reading, find_model, find_version
from .views import (
    ArmView,
    BuildView,
    CountsView,
    DeploymentView,
    JobView,
    ModelView,
    PlatformView,
    ReleaseView,
    VersionView,
    View,
)

__all__ = [
    "MOST",
    "REPORT_NAME",
    "ArmView",
    "BuildView",
    "CountsView",
    "DeploymentView",
    "JobView",
    "MetricFilter",
    "ModelView",
    "NotReadyError",
    "Overview",
    "PlatformView",
    "Reading",
    "ReleaseView",
    "TagFilter",
    "VersionView",
    "View",
    "find_model",
    "find_version",
    "read_metric_filter",
    "read_tag_filter",
]
