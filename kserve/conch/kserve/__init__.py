"""The KServe target: manifests for a stated KServe version and mode, and their linter.

Everything in `__all__` is stable within a minor version. The KServe SDK is not needed.
"""

from .errors import KServeError, ProfileError, QuantityError, RefusedError, UnusableYamlError
from .findings import Finding, Severity
from .lint_runs import FileLint, LintRun, render, run
from .linting import lint_documents, lint_update
from .versions import DeploymentMode, KServeVersion

__all__ = [
    "DeploymentMode",
    "FileLint",
    "Finding",
    "KServeError",
    "KServeVersion",
    "LintRun",
    "ProfileError",
    "QuantityError",
    "RefusedError",
    "Severity",
    "UnusableYamlError",
    "lint_documents",
    "lint_update",
    "render",
    "run",
]
