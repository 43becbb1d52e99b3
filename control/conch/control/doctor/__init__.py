"""`conch doctor`: what stands in the way of the platform, and what to do about it.

`observe` looks and changes nothing, `diagnose` is a pure function of what was seen, and `KINDS`
holds every finding with its fix.
"""

from .diagnosing import diagnose
from .facts import (
    DatabaseFacts,
    Facts,
    FileFacts,
    MlflowFacts,
    PlatformFacts,
    PortFacts,
    RuntimeFacts,
    ServerFacts,
    WebhookFacts,
)
from .findings import KINDS, Finding, Kind, Severity
from .observing import observe

__all__ = [
    "KINDS",
    "DatabaseFacts",
    "Facts",
    "FileFacts",
    "Finding",
    "Kind",
    "MlflowFacts",
    "PlatformFacts",
    "PortFacts",
    "RuntimeFacts",
    "ServerFacts",
    "Severity",
    "WebhookFacts",
    "diagnose",
    "observe",
]
