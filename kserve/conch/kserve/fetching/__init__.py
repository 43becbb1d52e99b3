"""Fetching a build from conch into a server's pod: what KServe's init container runs for `conch://`.

`python -m conch.kserve.fetching conch://MODEL/BUILD/DIGEST FOLDER` asks the control plane for the
build's Triton repository, proves every file by the digest in the address, and puts the repository
into the folder. Besides the standard library it uses what `conch.kserve` imports anyway.
"""

from .addresses import BuildAddress
from .downloading import KEY_VARIABLE, URL_VARIABLE, ControlPlaneAccess
from .errors import (
    AddressError,
    ArchiveError,
    DestinationError,
    DigestError,
    DiskError,
    FetchError,
    InterruptedFetchError,
    RefusedFetchError,
    SettingsError,
)
from .fetches import fetch
from .listings import LISTING, Listing

__all__ = [
    "KEY_VARIABLE",
    "LISTING",
    "URL_VARIABLE",
    "AddressError",
    "ArchiveError",
    "BuildAddress",
    "ControlPlaneAccess",
    "DestinationError",
    "DigestError",
    "DiskError",
    "FetchError",
    "InterruptedFetchError",
    "Listing",
    "RefusedFetchError",
    "SettingsError",
    "fetch",
]
