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
    ServerGivenError,
    ServerUnsuitableError,
    SlotNotReadyError,
    SupervisorMissingError,
    SupervisorRunningError,
    TritonUnusableError,
)
from .examining import examine
from .homes import Home
from .identities import Identity, identify, runs
from .launching import alive, launch, running, stop, wait_until_ready
from .metrics_pages import MetricsPage, metrics_pages
from .observed import Observed, read_observed
from .offers import Flavour, backend_directory, flavour_of, installed_backends
from .runtime import (
    ENGINES,
    Runtime,
    RuntimeSpec,
    check,
    default_root,
    find,
    install,
    require,
)
from .settings import GivenServer, LocalSettings
from .targets import LocalTarget
from .usable import unusable

__all__ = [
    "ENGINES",
    "BuildIncompleteError",
    "BuildQuarantinedError",
    "DesiredFile",
    "Flavour",
    "GatewayUnavailableError",
    "GivenServer",
    "Home",
    "Identity",
    "InferenceFailedError",
    "LoadFailedError",
    "LocalSettings",
    "LocalTarget",
    "MetricsPage",
    "Observed",
    "RoutesRejectedError",
    "Runtime",
    "RuntimeBrokenError",
    "RuntimeMissingError",
    "RuntimeSpec",
    "ServerGivenError",
    "ServerUnsuitableError",
    "ServiceSpec",
    "SlotNotReadyError",
    "SupervisorMissingError",
    "SupervisorRunningError",
    "TritonUnusableError",
    "alive",
    "backend_directory",
    "check",
    "default_root",
    "examine",
    "find",
    "flavour_of",
    "identify",
    "install",
    "installed_backends",
    "launch",
    "metrics_pages",
    "read_observed",
    "require",
    "running",
    "runs",
    "stop",
    "unusable",
    "wait_until_ready",
]
