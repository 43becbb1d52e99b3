"""From a registered model to a proven Triton repository: load, convert, verify, lay out.

Everything in `__all__` is stable within a minor version; modules are not meant to be imported
from outside this part.
"""

from .building import build, read_report
from .comparing import Tolerance
from .errors import (
    BuildCancelledError,
    BuildError,
    CorruptArtefactError,
    DigestMismatchError,
    DiskFullError,
    DiskLimitError,
    EnvironmentFailedError,
    FrameworkMissingError,
    MemoryLimitError,
    MissingInputExampleError,
    MissingSignatureError,
    OutputExistsError,
    PickledModelError,
    PreflightError,
    ReferenceDataError,
    RuntimeCapsError,
    SignatureMismatchError,
    TimeLimitError,
    UnknownFlavourError,
    UnsupportedGraphError,
    UnverifiedError,
    WeakEvidenceError,
    WorkerCrashedError,
    disk_full,
)
from .isolation import Isolation, isolation_gaps
from .manifests import Manifest, check_digest, published_lines, read_manifest
from .pages import Page, render
from .parcels import answered, pack, receive
from .preflight import PreflightResult, preflight
from .reports import COLUMNS, OutputReport, VerificationReport, WorstRow, rows
from .requests import BuildRequest, Limits, RuntimeCaps, TaskMetric
from .weights import weights_of
from .workbench import Workbench

BuildResult = Manifest
"""What `build` returns."""

__all__ = [
    "COLUMNS",
    "BuildCancelledError",
    "BuildError",
    "BuildRequest",
    "BuildResult",
    "CorruptArtefactError",
    "DigestMismatchError",
    "DiskFullError",
    "DiskLimitError",
    "EnvironmentFailedError",
    "FrameworkMissingError",
    "Isolation",
    "Limits",
    "Manifest",
    "MemoryLimitError",
    "MissingInputExampleError",
    "MissingSignatureError",
    "OutputExistsError",
    "OutputReport",
    "Page",
    "PickledModelError",
    "PreflightError",
    "PreflightResult",
    "ReferenceDataError",
    "RuntimeCaps",
    "RuntimeCapsError",
    "SignatureMismatchError",
    "TaskMetric",
    "TimeLimitError",
    "Tolerance",
    "UnknownFlavourError",
    "UnsupportedGraphError",
    "UnverifiedError",
    "VerificationReport",
    "WeakEvidenceError",
    "Workbench",
    "WorkerCrashedError",
    "WorstRow",
    "answered",
    "build",
    "check_digest",
    "disk_full",
    "isolation_gaps",
    "pack",
    "preflight",
    "published_lines",
    "read_manifest",
    "read_report",
    "receive",
    "render",
    "rows",
    "weights_of",
]
