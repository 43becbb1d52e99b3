"""The KServe target: manifests for a stated KServe version and mode, and their linter.

Everything in `__all__` is stable within a minor version. The KServe SDK is not needed.
"""

from .errors import (
    KServeError,
    ProfileError,
    QuantityError,
    RefusedError,
    UnknownVersionError,
    UnusableSchemaError,
    UnusableYamlError,
    WorkloadError,
)
from .findings import Finding, Severity
from .lint_runs import FileLint, LintRun, run
from .lint_runs import render as render_lint
from .linting import lint_documents, lint_update
from .manifests import manifests, render
from .profile_files import read_profile, read_site
from .profiles import (
    Autoscaler,
    Environment,
    Gateway,
    GpuProduct,
    Monitoring,
    Networking,
    Payloads,
    Profile,
    Storage,
    Traffic,
    TritonImage,
)
from .refusals import Refusal, refusals, refuse
from .sites import Builds, Site
from .versions import DeploymentMode, KServeVersion
from .workloads import Protocol, Resources, Scaling, ServedModel, Slot, Workload, object_name

__all__ = [
    "Autoscaler",
    "Builds",
    "DeploymentMode",
    "Environment",
    "FileLint",
    "Finding",
    "Gateway",
    "GpuProduct",
    "KServeError",
    "KServeVersion",
    "LintRun",
    "Monitoring",
    "Networking",
    "Payloads",
    "Profile",
    "ProfileError",
    "Protocol",
    "QuantityError",
    "Refusal",
    "RefusedError",
    "Resources",
    "Scaling",
    "ServedModel",
    "Severity",
    "Site",
    "Slot",
    "Storage",
    "Traffic",
    "TritonImage",
    "UnknownVersionError",
    "UnusableSchemaError",
    "UnusableYamlError",
    "Workload",
    "WorkloadError",
    "lint_documents",
    "lint_update",
    "manifests",
    "object_name",
    "read_profile",
    "read_site",
    "refusals",
    "refuse",
    "render",
    "render_lint",
    "run",
]
