"""The durable event log: exposures, predictions, metrics and feedback, and the join of labels.

Everything in `__all__` is stable within a minor version; modules are not meant to be imported
from outside this part. `Compactor` and `EventQueries` need the extra `events` (pyarrow, duckdb);
nothing else does.
"""

from .access_logs import AccessLogReader, PollReport
from .appending import Appended, Cursor, OpenReport
from .coding import decode, encode, from_dict
from .compacting import Compacted, Compactor, Keep
from .errors import (
    AppendTimeoutError,
    DiskFullError,
    EventError,
    EventTooLargeError,
    InvalidEventError,
    LogBusyError,
    LogClosedError,
    LogCorruptError,
    LogFailedError,
    LogFullError,
    LogLockedError,
    ManifestError,
    MissingExtraError,
    OffsetGoneError,
    QueryError,
    UnknownSchemaError,
)
from .examples import (
    DeadLetter,
    Emission,
    Example,
    JoinCounts,
    JoinRules,
    LateLabel,
    Rejected,
    RejectedBecause,
    SourcePolicy,
)
from .join_snapshots import JoinStep, dump_join, join_events, load_join
from .joining import Joiner
from .kinds import (
    Event,
    Exposure,
    Feedback,
    FeedbackKind,
    JsonValue,
    Kind,
    Metric,
    Prediction,
    event_time,
    hash_unit,
)
from .log import EventLog
from .manifests import load_manifest
from .queries import EventQueries, EventSource
from .retention import LogSettings, WhenFull
from .views import LogReader, StoredEvent

__all__ = [
    "AccessLogReader",
    "AppendTimeoutError",
    "Appended",
    "Compacted",
    "Compactor",
    "Cursor",
    "DeadLetter",
    "DiskFullError",
    "Emission",
    "Event",
    "EventError",
    "EventLog",
    "EventQueries",
    "EventSource",
    "EventTooLargeError",
    "Example",
    "Exposure",
    "Feedback",
    "FeedbackKind",
    "InvalidEventError",
    "JoinCounts",
    "JoinRules",
    "JoinStep",
    "Joiner",
    "JsonValue",
    "Keep",
    "Kind",
    "LateLabel",
    "LogBusyError",
    "LogClosedError",
    "LogCorruptError",
    "LogFailedError",
    "LogFullError",
    "LogLockedError",
    "LogReader",
    "LogSettings",
    "ManifestError",
    "Metric",
    "MissingExtraError",
    "OffsetGoneError",
    "OpenReport",
    "PollReport",
    "Prediction",
    "QueryError",
    "Rejected",
    "RejectedBecause",
    "SourcePolicy",
    "StoredEvent",
    "UnknownSchemaError",
    "WhenFull",
    "decode",
    "dump_join",
    "encode",
    "event_time",
    "from_dict",
    "hash_unit",
    "join_events",
    "load_join",
    "load_manifest",
]
