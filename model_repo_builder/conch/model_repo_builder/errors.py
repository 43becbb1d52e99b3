"""Why a registered version did not become a build, one class per reason.

Every class has a stable `code`. A refusal (the artefact, the conversion or the evidence is not
good enough) is final for that version; `retryable` marks the failures that another attempt may
not meet.
"""

from __future__ import annotations

import errno
from typing import Any

from conch.core import ConchError


class BuildError(ConchError):
    """A build did not succeed."""

    code = "build-failed"


class UnknownFlavourError(BuildError):
    """The MLflow model has no flavour that conch converts."""

    code = "unknown-flavour"


class CorruptArtefactError(BuildError):
    """The model's files are missing, unreadable, or point outside their folder."""

    code = "corrupt-artefact"


class PickledModelError(BuildError):
    """Loading the model would run code that is stored in it."""

    code = "pickled-model"


class MissingSignatureError(BuildError):
    """The model says nowhere what it takes and returns."""

    code = "missing-signature"


class MissingInputExampleError(BuildError):
    """The model takes values that cannot be made up, and no example of them was logged."""

    code = "missing-input-example"


class RangesInvalidError(BuildError):
    """What was recorded of the ranges in training fits no input."""

    code = "ranges-invalid"


class SignatureMismatchError(BuildError):
    """What the converted model takes or returns is not what the registry says."""

    code = "signature-mismatch"


class UnsupportedGraphError(BuildError):
    """The exporter or ONNX Runtime cannot express the model."""

    code = "unsupported-graph"


class RuntimeCapsError(BuildError):
    """The graph is newer than what the serving runtime reads."""

    code = "newer-than-runtime"


class FrameworkMissingError(BuildError):
    """The framework that the model was made with is not installed."""

    code = "framework-missing"


class UnverifiedError(BuildError):
    """The converted model does not answer what the registered model answers."""

    code = "unverified"


class WeakEvidenceError(BuildError):
    """The answers agree, but the rows that were asked prove little, and the policy wants more."""

    code = "weak-evidence"


class TimeLimitError(BuildError):
    """The build took longer than it may."""

    code = "build-over-time"


class MemoryLimitError(BuildError):
    """The build took more memory than it may."""

    code = "build-over-memory"


class DiskLimitError(BuildError):
    """The build wrote more to disk than it may."""

    code = "build-over-disk"


class EnvironmentFailedError(BuildError):
    """The environment that the model was logged with cannot be made here."""

    code = "environment-failed"


class WorkerCrashedError(BuildError):
    """The process that was building ended by itself."""

    code = "build-worker-crashed"
    retryable = True


class DiskFullError(BuildError):
    """The file system has no room for the model or its build; nothing was published."""

    code = "build-disk-full"
    retryable = True


class BuildCancelledError(BuildError):
    """Somebody asked for the build to stop."""

    code = "build-cancelled"
    retryable = True


class OutputExistsError(BuildError):
    """The folder to publish to is taken."""

    code = "build-exists"


class DigestMismatchError(BuildError):
    """A published build's files are not the ones that were published."""

    code = "build-digest-mismatch"


class PreflightError(BuildError):
    """A live server does not answer what the registered model answers."""

    code = "preflight-failed"


class ReferenceDataError(BuildError):
    """The reference data set that a person named cannot be used."""

    code = "reference-data-invalid"


class RemoteBuildError(BuildError):
    """An error that the worker reported, under the code that it had there."""

    def __init__(self, value: dict[str, Any]) -> None:
        super().__init__(value["message"], hint=value["hint"], **value["details"])


def disk_full(error: BaseException) -> DiskFullError | None:
    """Return the error to tell where one was caused by a full file system; else None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(
                f"The disk is full: {cause.strerror} ({cause.filename or 'file unknown'}).",
                hint="Make room; the build is tried again by itself.",
            )
        cause = cause.__cause__ or cause.__context__
    return None


def error_from_dict(value: dict[str, Any]) -> BuildError:
    """Return the error whose `as_dict` this is, as its own class again.

    A code of another part (a preset's, a core value's) becomes a `RemoteBuildError` subclass that
    keeps the code.
    """
    known = {kind.code: kind for kind in BuildError.__subclasses__()} | {
        BuildError.code: BuildError
    }
    kind = known.get(value["code"])
    if kind is not None and kind is not RemoteBuildError:
        return kind(value["message"], hint=value["hint"], **value["details"])
    foreign: type[RemoteBuildError] = type(
        "RemoteBuildError", (RemoteBuildError,), {"code": str(value["code"])}
    )
    return foreign(value)
