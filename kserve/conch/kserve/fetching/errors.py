"""Why a build did not get into a server's folder, one class per reason."""

from __future__ import annotations

from ..errors import KServeError


class FetchError(KServeError):
    """A build did not get into the folder; the root of the reasons why."""

    code = "fetch-failed"


class AddressError(FetchError):
    """A text is not the address of a build, `conch://MODEL/BUILD/DIGEST`."""

    code = "fetch-address-invalid"


class SettingsError(FetchError):
    """Nothing says where the control plane is, or with which key it is asked."""

    code = "fetch-settings-missing"


class RefusedFetchError(FetchError):
    """The control plane refused to give the build; `details["code"]` is its own reason."""

    code = "fetch-refused"


class InterruptedFetchError(FetchError):
    """The control plane did not answer, or not to the end, at any attempt."""

    code = "fetch-interrupted"
    retryable = True


class ArchiveError(FetchError):
    """What the control plane sent is not a build's repository; nothing of it was kept."""

    code = "fetch-archive-refused"


class DigestError(FetchError):
    """What arrived is not the build that the address names; nothing of it was kept."""

    code = "fetch-digest-mismatch"


class DestinationError(FetchError):
    """The folder holds what this program did not put there."""

    code = "fetch-destination-taken"


class DiskError(FetchError):
    """A file could not be written or read; nothing was kept."""

    code = "fetch-disk-failed"
