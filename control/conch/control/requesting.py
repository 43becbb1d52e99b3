"""A person's word that a version is to be built: again after a refusal, or past the policy."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from conch.core import ConflictError

from . import jobs
from .deploying.deciding import BUILD
from .reading import find_version
from .state import Transaction, Version, VersionStatus

_DONE: Final = {
    VersionStatus.BUILDING: "being built already",
    VersionStatus.VERIFIED: "verified already",
}


class BuildNotNeededError(ConflictError):
    """The version is being built, or is verified."""

    code = "build-not-needed"


def request_build(tx: Transaction, name: str, number: int, *, now: datetime) -> Version:
    """Queue a build of a version that was refused or never taken up.

    Raises:
        NotFoundError: conch has not seen the version.
        BuildNotNeededError: It is being built, or is verified.
    """
    version = find_version(tx, name, number)
    if version.status in _DONE:
        raise BuildNotNeededError(
            f"Version {number} of {name!r} is {_DONE[version.status]}.",
            hint="A version is built again only after it was refused; register a new one.",
        )
    label = f"build {name} version {number}"
    jobs.enqueue(tx, kind=BUILD, subject=version.id, label=label, now=now)
    return tx.versions.change(version, wanted=True, status=VersionStatus.BUILDING, reason=None)
