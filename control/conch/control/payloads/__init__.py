"""What KServe's payload logger tells of a cluster's requests, as exposures that are counted.

The logger posts each request and each answer as a CloudEvent, on its own, and may lose one. They
are paired, put into the stage that was in force when the request came, and written to the event log
as what the gateway's access log is on one machine.
"""

from .cloud_events import Answered, Asked, PayloadInvalidError, read_payload
from .intake import Intake, IntakeStatus, PayloadReader, PayloadsBusyError, PayloadSource
from .pairing import Pairs, Served, Stretch
from .periods import Periods

__all__ = [
    "Answered",
    "Asked",
    "Intake",
    "IntakeStatus",
    "Pairs",
    "PayloadInvalidError",
    "PayloadReader",
    "PayloadSource",
    "PayloadsBusyError",
    "Periods",
    "Served",
    "Stretch",
    "read_payload",
]
