"""What can go wrong on one machine, each with a stable code."""

from __future__ import annotations

from conch.core import ConchError, ConflictError


class RuntimeMissingError(ConchError):
    """The serving runtime (Triton, Envoy) is not installed for this Python."""

    code = "runtime-missing"


class RuntimeBrokenError(ConchError):
    """The serving runtime could not be installed, or its files are not what was installed."""

    code = "runtime-broken"


class LoadFailedError(ConchError):
    """A model server refused a build; what served before still serves."""

    code = "load-failed"


class SlotNotReadyError(ConchError):
    """No server of a slot is ready at the moment."""

    code = "slot-not-ready"
    retryable = True


class ServerUnsuitableError(ConchError):
    """A server that was given by its address cannot be worked with as it was started."""

    code = "server-unsuitable"


class ServerGivenError(ConflictError):
    """A server that somebody else runs was to be started or ended."""

    code = "server-given"


class TritonUnusableError(ConchError):
    """The `tritonserver` that the settings name is not there, or has no backend."""

    code = "tritonserver-unusable"


class BuildQuarantinedError(ConchError):
    """A build was being loaded when its server crashed, twice; it is not loaded again."""

    code = "build-quarantined"


class BuildIncompleteError(ConchError):
    """A build's folder lacks what a server needs."""

    code = "build-incomplete"


class InferenceFailedError(ConchError):
    """A model server answered an inference request with an error."""

    code = "inference-failed"


class RoutesRejectedError(ConchError):
    """The gateway refused a routing table; the previous one is in force."""

    code = "routes-rejected"


class GatewayUnavailableError(ConchError):
    """The gateway did not answer or did not acknowledge in time; the previous table is kept."""

    code = "gateway-unavailable"
    retryable = True


class SupervisorRunningError(ConchError):
    """Another supervisor owns this home."""

    code = "supervisor-running"


class SupervisorMissingError(ConchError):
    """No supervisor runs for this home, or it did not come up in time."""

    code = "supervisor-missing"
    retryable = True
