"""What was observed of a release: the question, the port that answers it, and its answer.

The release engine asks an `EvidenceSource`; `conch.ab.decide` judges the `conch.ab.Evidence` that
comes back. What a plan's `source` may say is read by `parse_source`.
"""

from .questions import (
    EvidenceQuestion,
    EvidenceSource,
    EvidenceUnavailableError,
    RampStage,
    ServedArm,
)
from .shadows import Disagreement, ShadowSummary
from .sources import MetricSource, MetricSourceError, Provider, check_plan, parse_source

__all__ = [
    "Disagreement",
    "EvidenceQuestion",
    "EvidenceSource",
    "EvidenceUnavailableError",
    "MetricSource",
    "MetricSourceError",
    "Provider",
    "RampStage",
    "ServedArm",
    "ShadowSummary",
    "check_plan",
    "parse_source",
]
