"""What can go wrong in serving on a cluster, each with a stable code."""

from __future__ import annotations

from conch.core import ConflictError

from ..errors import KServeError


class NotLoadedError(KServeError):
    """A cluster's servers did not become ready with a build; what served before still serves."""

    code = "cluster-load-failed"


class LoadPendingError(KServeError):
    """Servers with a build are still on their way, or cannot be asked for yet."""

    code = "cluster-load-pending"
    retryable = True


class SlotInUseError(KServeError, ConflictError):
    """A slot that gets traffic was to hold another build."""

    code = "cluster-slot-in-use"


class WeightsHeldBackError(KServeError):
    """Weights were not written, since they would not reach the verified version alone."""

    code = "cluster-weights-held-back"
    retryable = True


class WeightsPendingError(KServeError):
    """The cluster did not acknowledge new weights in time; they may come into force later."""

    code = "cluster-weights-pending"
    retryable = True


class NotAnsweringError(KServeError):
    """A slot's servers on the cluster did not answer an inference request."""

    code = "cluster-not-answering"
    retryable = True


class AnswerError(KServeError):
    """A slot's servers on the cluster answered an inference request with an error."""

    code = "cluster-inference-failed"


class NotScalableError(KServeError):
    """The number of a cluster's servers is the workload's and its autoscaler's matter."""

    code = "cluster-scaling-stated"


class NotLeadingError(KServeError):
    """Another control plane holds the lease on the cluster's namespace."""

    code = "cluster-not-leading"
    retryable = True
