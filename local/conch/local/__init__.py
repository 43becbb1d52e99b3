"""The local target: supervised Triton servers and Envoy on one machine.

A *home* is the folder of one target. `install` provides the programs, `DesiredFile.set_up` says
what should run there, `launch` starts the supervisor and `LocalTarget` is what the control plane
talks to. `__all__` is stable within a minor version.
"""

from .desired import DesiredFile, ServiceSpec
from .errors import (
    BuildIncompleteError,
    BuildQuarantinedError,
    GatewayUnavailableError,
    InferenceFailedError,
    LoadFailedError,
    RoutesRejectedError,
    RuntimeBrokenError,
    RuntimeMissingError,
    SlotNotReadyError,
    SupervisorMissingError,
    SupervisorRunningError,
)
from .homes import Home
from .identities import Identity, identify, runs
from .launching import alive, launch, running, stop, wait_until_ready
from .observed import Observed, read_observed
from .runtime import Runtime, RuntimeSpec, check, default_root, find, install, require
from .settings import LocalSettings
from .targets import LocalTarget

__all__ = [
    "BuildIncompleteError",
    "BuildQuarantinedError",
    "DesiredFile",
    "GatewayUnavailableError",
    "Home",
    "Identity",
    "InferenceFailedError",
    "LoadFailedError",
    "LocalSettings",
    "LocalTarget",
    "Observed",
    "RoutesRejectedError",
    "Runtime",
    "RuntimeBrokenError",
    "RuntimeMissingError",
    "RuntimeSpec",
    "ServiceSpec",
    "SlotNotReadyError",
    "SupervisorMissingError",
    "SupervisorRunningError",
    "alive",
    "check",
    "default_root",
    "find",
    "identify",
    "install",
    "launch",
    "read_observed",
    "require",
    "running",
    "runs",
    "stop",
    "wait_until_ready",
]
