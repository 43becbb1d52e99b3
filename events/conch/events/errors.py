"""What can go wrong with events and their log, each with a stable code."""

from __future__ import annotations

from conch.core import ConchError


class EventError(ConchError):
    """Root of every error that this part raises on purpose."""

    code = "event-error"


class InvalidEventError(EventError):
    """An event breaks the rules of its kind; `details["field"]` names the field."""

    code = "event-invalid"


class UnknownSchemaError(EventError):
    """Stored bytes have a schema version or a kind that this release does not know."""

    code = "event-schema-unknown"


class EventTooLargeError(EventError):
    """One append is larger than the log takes in a single durable write."""

    code = "event-too-large"


class LogLockedError(EventError):
    """Another process writes this log: a directory has one writer."""

    code = "event-log-locked"


class LogClosedError(EventError):
    """The log was closed before or while the call ran."""

    code = "event-log-closed"


class LogBusyError(EventError):
    """More events wait for the disk than the log lets wait. Nothing was taken."""

    code = "event-log-busy"
    retryable = True


class AppendTimeoutError(EventError):
    """The durable write did not end in time: the events may or may not be stored.

    A retry under the same event ids is safe.
    """

    code = "event-append-timeout"
    retryable = True


class LogFullError(EventError):
    """The log reached its stated size and may drop nothing. Nothing was stored."""

    code = "event-log-full"
    retryable = True


class DiskFullError(EventError):
    """The file system has no room. Nothing was stored; the log stays readable and writable."""

    code = "event-disk-full"
    retryable = True


class LogFailedError(EventError):
    """A write or an fsync failed: this log object takes nothing more until it is opened again."""

    code = "event-log-failed"


class LogCorruptError(EventError):
    """Bytes that were once durable do not match their checksum, or a segment is missing."""

    code = "event-log-corrupt"


class OffsetGoneError(EventError):
    """The offset lies before the oldest event that retention has kept."""

    code = "event-offset-gone"


class ManifestError(EventError):
    """The manifest of compacted files cannot be read, or a file it names is missing."""

    code = "event-manifest-corrupt"


class QueryError(EventError):
    """The SQL is not one SELECT, or DuckDB refused it."""

    code = "event-query-invalid"


class MissingExtraError(EventError):
    """pyarrow or duckdb is not installed; only compaction and queries need them."""

    code = "event-extra-missing"
