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
    FrameworkMissingError,
    MemoryLimitError,
    MissingInputExampleError,
    MissingSignatureError,
    OutputExistsError,
    PickledModelError,
    PreflightError,
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
from .manifests import Manifest, check_digest, read_manifest
from .preflight import PreflightResult, preflight
from .reports import COLUMNS, OutputReport, VerificationReport, WorstRow, rows
from .requests import BuildRequest, Limits, RuntimeCaps
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
    "FrameworkMissingError",
    "Limits",
    "Manifest",
    "MemoryLimitError",
    "MissingInputExampleError",
    "MissingSignatureError",
    "OutputExistsError",
    "OutputReport",
    "PickledModelError",
    "PreflightError",
    "PreflightResult",
    "RuntimeCaps",
    "RuntimeCapsError",
    "SignatureMismatchError",
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
    "build",
    "check_digest",
    "disk_full",
    "preflight",
    "read_manifest",
    "read_report",
    "rows",
]
